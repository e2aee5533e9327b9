"""Who may see what: Airflow's own checks, the ones that its REST API and so its UI use.

Airflow puts no check of its own in front of a plugin's application.
"""

from __future__ import annotations

from collections.abc import Iterable

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, HTTPException, Request

# The images are XComs of a task instance of a DAG: who may not see one of the three in the UI sees nothing here.
ENTITIES = (None, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)

# For a route with ``{dag_id}`` in its path: 401 without a login, 403 without the permission. In the path and not in
# the query, where a second value of the same name could be checked for one DAG and used for another.
DAG_READABLE = [Depends(requires_access_dag("GET", entity)) for entity in ENTITIES]


def authorised_dags(user: BaseUser, dag_ids: Iterable[str]) -> set[str]:
    """Return those of the DAGs that the user finds in the UI's list."""
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET") & set(dag_ids)


def may_read(dag_id: str, request: Request, user: BaseUser) -> bool:
    """Whether the user may see this DAG's task instances and XComs."""
    try:
        for entity in ENTITIES:
            requires_access_dag("GET", entity, dag_id)(request, user)
    except HTTPException:
        return False
    return True
