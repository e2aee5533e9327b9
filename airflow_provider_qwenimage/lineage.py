"""What OpenLineage learns of a task: its files come from Airflow's hook lineage, the generation id from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage._compat import object_storage_path, report_input
from airflow_provider_qwenimage.outlets import uri_of_file

if TYPE_CHECKING:
    from airflow_provider_qwenimage.hooks import QwenImageHook


def tell_read(path: str) -> None:
    """Tell Airflow's lineage of an input file; again, if the task ends in another process than it was read in."""
    file = object_storage_path(path)
    report_input(file, uri_of_file(file))


class GenerationLineage:
    """Mixed into tasks about one generation: reports its id as an ``externalQuery`` run facet.

    Files are not named here: Airflow takes those that were stored from its hook lineage, as long as this names none.
    The prompt is not reported, it may be confidential.
    """

    if TYPE_CHECKING:

        @property
        def hook(self) -> QwenImageHook: ...

    finished_generation: str | None = None

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the facets; called by the OpenLineage provider on the worker when the task has ended."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import external_query_run

        if not self.finished_generation:
            return OperatorLineage()
        source = self.hook.get_settings().shown_url
        facet = external_query_run.ExternalQueryRunFacet(externalQueryId=self.finished_generation, source=source)
        return OperatorLineage(run_facets={"externalQuery": facet})
