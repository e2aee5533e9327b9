"""Runs DAGs that a test builds in its own body: the DAG stands beside what is expected of it."""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import AirflowHere, Run, register
from recorder import CALLBACKS

from airflow_provider_qwenimage._compat import AIRFLOW, AIRFLOW_3

try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task

__all__ = [
    "Bench",
    "asset_events",
    "files_in",
    "register",
    "rendered_fields",
    "task",
    "trigger_by_events",
    "xcoms",
]

_numbers = itertools.count(1)


class Bench(AirflowHere):
    """Knows the DAGs that were built on it; nothing is read from a folder."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.dags: dict[str, DAG] = {}

    def read(self, dag_id: str) -> Any:
        return self.dags[dag_id]

    def dag(self, **arguments: Any) -> DAG:
        """A new DAG with an id of its own, whose tasks keep their exceptions and are not retried."""
        default_args = {"retries": 0, "retry_delay": timedelta(0), **CALLBACKS, **arguments.pop("default_args", {})}
        dag = DAG(
            dag_id=f"made_here_{os.getpid()}_{next(_numbers)}",
            schedule=arguments.pop("schedule", None),
            start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
            catchup=False,
            default_args=default_args,
            **arguments,
        )
        self.dags[dag.dag_id] = dag
        return dag

    def run_dag(self, dag: DAG, **conf: Any) -> Run:
        """Run a DAG with ``dag.test()``."""
        register(dag)
        return self.run(dag.dag_id, **conf)

    def run_one(self, build: Callable[[], Any], *, retries: int = 0, **conf: Any) -> Run:
        """Run a DAG with the tasks that ``build`` makes."""
        with self.dag(default_args={"retries": retries}) as dag:
            build()
        return self.run_dag(dag, **conf)

    def generate(self, *, retries: int = 0, **arguments: Any) -> Run:
        """Run one generate operator, ``gen``."""
        from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

        arguments = {"task_id": "gen", "prompt": "a kite", **arguments}
        return self.run_one(lambda: QwenImageGenerateOperator(**arguments), retries=retries)


def rendered_fields(ti: Any) -> dict[str, Any]:
    """What Airflow's UI shows under "Rendered Templates"."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.utils.session import create_session

    with create_session() as session:
        found = (
            session.query(RenderedTaskInstanceFields)
            .filter_by(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
            .one()
        )
        return dict(found.rendered_fields)


def xcoms(ti: Any) -> dict[str, Any]:
    """All XComs of a task instance."""
    try:
        from airflow.models.xcom import XComModel
    except ImportError:
        from airflow.models.xcom import XCom as XComModel
    from airflow.utils.session import create_session

    with create_session() as session:
        of_this = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
        keys = [row.key for row in session.query(XComModel.key).filter_by(**of_this)]
    indexes = ti.map_index if ti.map_index >= 0 else None
    return {key: ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=indexes) for key in keys}


def files_in(folder: Path) -> dict[str, bytes]:
    """What was saved below a folder: name -> bytes. The provider's own notes are no images."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    return {name: content for name, content in sorted(found.items()) if not name.startswith(".qwenimage/")}


def asset_events(run: Run) -> list[Any]:
    """The asset events (dataset events, on 2.11) of a run's tasks, oldest first."""
    from airflow.utils.session import create_session
    from sqlalchemy.orm import joinedload

    if AIRFLOW_3:
        from airflow.models.asset import AssetEvent as Event

        about = Event.asset
    else:
        from airflow.models.dataset import DatasetEvent as Event

        about = Event.dataset
    (ti, *_) = run.tis.values()
    with create_session() as session:
        of_run = {"source_dag_id": ti.dag_id, "source_run_id": ti.run_id}
        found = session.query(Event).options(joinedload(about)).filter_by(**of_run).order_by(Event.id).all()
        session.expunge_all()
    return found


def trigger_by_events(dag: DAG, events: list[Any]) -> Run:
    """Run a DAG that is scheduled on assets, as the scheduler runs it: its run knows the events that started it."""
    name = (
        "airflow.models.dag._get_or_create_dagrun" if AIRFLOW < (3, 1) else "airflow.models.dagrun.get_or_create_dagrun"
    )
    consumed = "consumed_asset_events" if AIRFLOW_3 else "consumed_dataset_events"
    with pytest.MonkeyPatch.context() as patch:
        module, _, function = name.rpartition(".")
        create = getattr(importlib.import_module(module), function)

        def create_with_events(*args: Any, session: Any, **kwargs: Any) -> Any:
            run = create(*args, session=session, **kwargs)
            getattr(run, consumed).extend(session.merge(event) for event in events)
            session.commit()
            return run

        patch.setattr(name, create_with_events)
        bench = Bench(Path())
        bench.dags[dag.dag_id] = dag
        return bench.run_dag(dag)
