"""An auth manager that can deny single DAGs: Airflow's simple one knows roles only."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class DenyingAuthManager(SimpleAuthManager):
    """Airflow's simple auth manager, which also refuses what is listed: user, DAG, entity (None: the DAG with all)."""

    denied: ClassVar[set[tuple[str, str, str | None]]] = {
        (user, dag_id, None)
        for user, _, dag_id in (pair.partition(":") for pair in os.environ.get("QWENIMAGE_TEST_DENIED", "").split())
    }

    def is_authorized_dag(self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None) -> bool:
        if details is not None:
            entities = (None, access_entity.value) if access_entity else (None,)
            if any((user.get_name(), details.id, entity) in self.denied for entity in entities):
                return False
        return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
