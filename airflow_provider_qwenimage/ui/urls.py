"""Where the pages are. Imports nothing of weight: the operators' extra link asks on the worker."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

PREFIX = "/qwenimage"


@dataclass(frozen=True)
class Place:
    """A DAG, one of its runs, a task in it or one mapped instance of that task: each None widens it.

    :param map_index: None stands for all instances of the task, -1 for the one of a task that is not mapped.
    """

    dag_id: str
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None

    def page(self) -> str:
        """Return the path of the page with its images, below ``PREFIX``."""
        return f"/dags/{_quoted(self.dag_id)}/images{self._query()}"

    def image(self, position: int) -> str:
        """Return the path of one image's file, below ``PREFIX``.

        :param position: of the record in the XCom, from 0.
        """
        return f"/dags/{_quoted(self.dag_id)}/image{self._query(index=position)}"

    def in_airflow(self) -> str:
        """Return the path of Airflow's own page about it."""
        parts = ["dags", self.dag_id]
        if self.run_id:
            parts += ["runs", self.run_id]
        if self.run_id and self.task_id:
            parts += ["tasks", self.task_id]
            if self.map_index is not None and self.map_index >= 0:
                parts += ["mapped", str(self.map_index)]
        return "/" + "/".join(_quoted(part) for part in parts)

    def _query(self, **more: int) -> str:
        # In the query, not in the path: a run id may hold anything, "/" too, which no server passes on in a path.
        values = {"run_id": self.run_id, "task_id": self.task_id, "map_index": self.map_index, **more}
        query = urlencode({name: value for name, value in values.items() if value is not None})
        return f"?{query}" if query else ""


def images_url(dag_id: str, run_id: str | None = None, task_id: str | None = None, map_index: int | None = -1) -> str:
    """Return the address of the page with the images of a task instance (or, without a task, of a DAG run).

    Relative to the server, so that it leads to wherever the reader's Airflow is; with the path prefix of ``[api]
    base_url``. There is a page on Airflow 3.1 and later only: see ``airflow_provider_qwenimage.ui.plugin.AVAILABLE``.

    :param map_index: -1 or None if the task is not mapped.
    """
    place = Place(dag_id, run_id, task_id, None if map_index is None or map_index < 0 else map_index)
    return f"{base_path()}{PREFIX}{place.page()}"


def base_path() -> str:
    """Return the path under which Airflow's UI is served, without a slash at its end; mostly an empty text."""
    from airflow.configuration import conf

    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def _quoted(part: str) -> str:
    return quote(part, safe="")
