"""One task of a real DAG run, try by try: what a scheduler does between the tries is done here, by hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import AirflowHere
from dags_made_here import Bench
from recorder import CALLBACKS, ERRORS

from airflow_provider_qwenimage import durable
from airflow_provider_qwenimage._compat import AIRFLOW, AIRFLOW_3
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

HAS_STORE = AIRFLOW >= (3, 3)  # Airflow's own, for the state of a task
TASK = "gen"
RUN_ID = "by_hand"


class Tries:
    """A run of a DAG with one task.

    :param bench: where DAGs are built.
    :param build: makes the task, whose id is ``gen``.
    """

    def __init__(self, bench: Bench, build: Callable[[], Any], *, retries: int = 3) -> None:
        with bench.dag(default_args={"retries": retries}) as dag:
            build()
        self.dag = dag
        self.task = dag.get_task(TASK)
        self.run_id = _start(dag)
        self.errors: list[BaseException] = []

    def has_run(self) -> bool:
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session

        with create_session() as session:
            return session.query(DagRun).filter_by(dag_id=self.dag.dag_id, run_id=self.run_id).count() > 0

    def next(self, *, triggerer: bool = True) -> str:
        """Run the next try to its end, its deferrals included; return the state that it leaves.

        :param triggerer: whether there is one; without, a deferred task stays deferred.
        """
        with self._ti() as (ti, session):
            if str(ti.state) == "running" and AIRFLOW_3:  # its worker has died: what the scheduler does with it
                ti.prepare_db_for_next_try(session)
            ti.try_number += 1
        return self._run(None, None, triggerer=triggerer)

    def resume(self, next_method: str, next_kwargs: dict[str, Any]) -> str:
        """Go on with a deferred task as a scheduler or triggerer has ordered; return the state that it leaves."""
        return self._run(next_method, next_kwargs, triggerer=True)

    def lose_the_trigger(self, why: str) -> str:
        """Go on with a deferred task whose trigger has crashed or timed out, as Airflow does."""
        crash = {"traceback": ["Traceback (most recent call last):", "MemoryError"]} if why == "crash" else {}
        return self.resume("__fail__", {"error": "Trigger failure" if crash else "Trigger timeout", **crash})

    def _run(self, next_method: str | None, next_kwargs: dict[str, Any] | None, *, triggerer: bool) -> str:
        ERRORS.clear()
        with self._ti() as (ti, session):
            ti.state = "scheduled"
            ti.next_method, ti.next_kwargs, ti.trigger_id = next_method, next_kwargs, None
            session.commit()
            _run_task(ti, self.task, session, triggerer=triggerer)
        self.errors = [error for _, error in ERRORS]
        with self._ti() as (ti, _):
            return str(ti.state)

    def clear(self) -> None:
        """Clear the task as a user does."""
        from airflow.models.taskinstance import clear_task_instances

        with self._ti() as (ti, session):
            clear_task_instances([ti], session, **({} if AIRFLOW_3 else {"dag": self.dag}))

    def clear_keeping_tries(self) -> None:
        """Let a failed task have another try that is no Clear, as a scheduler's own retry is none."""
        with self._ti() as (ti, _):
            ti.state = "up_for_retry"

    def change(self, **arguments: Any) -> None:
        """Edit the task between two tries, as a deployment of the DAG file does."""
        for name, value in arguments.items():
            setattr(self.task, name, value)

    def xcom(self, key: str = "return_value") -> Any:
        with self._ti() as (ti, _):
            return ti.xcom_pull(task_ids=TASK, key=key)

    @property
    def error(self) -> BaseException:
        """The one exception that the last try has ended in."""
        (found,) = self.errors
        return found

    @contextmanager
    def _ti(self) -> Any:
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session

        with create_session() as session:
            of_this = {"dag_id": self.dag.dag_id, "run_id": self.run_id, "task_id": TASK}
            ti = session.query(TaskInstance).filter_by(**of_this).one()
            if not AIRFLOW_3:
                ti.task = self.task
            yield ti, session


def generating_here(home: Path, dag_id: str, **arguments: Any) -> Tries:
    """The same run of one generate operator in whatever process: the first makes it, the next ones find it."""
    from dags_made_here import DAG

    tries = Tries.__new__(Tries)
    day = datetime(2026, 1, 1, tzinfo=timezone.utc)
    defaults = {"retries": 3, "retry_delay": timedelta(0), **CALLBACKS}
    with DAG(dag_id=dag_id, schedule=None, start_date=day, catchup=False, default_args=defaults) as tries.dag:
        tries.task = QwenImageGenerateOperator(task_id=TASK, prompt="a kite", **arguments)
    tries.errors, tries.run_id = [], RUN_ID
    if not tries.has_run():
        _start(tries.dag)
    return tries


def generating(bench: Bench, *, retries: int = 3, **arguments: Any) -> Tries:
    """A run of one generate operator."""
    arguments = {"task_id": TASK, "prompt": "a kite", **arguments}
    return Tries(bench, lambda: QwenImageGenerateOperator(**arguments), retries=retries)


def _start(dag: Any) -> str:
    """Make a DAG run and its task instance, started by nobody."""
    from dags_made_here import register

    now = datetime.now(timezone.utc)
    register(dag)
    if not AIRFLOW_3:
        dag.create_dagrun(run_id=RUN_ID, state="running", execution_date=now, start_date=now, data_interval=(now, now))
        return RUN_ID
    from airflow.utils.session import create_session
    from airflow.utils.types import DagRunTriggeredByType

    if AIRFLOW == (3, 0):
        from airflow.models.dag import DAG as SchedulerDAG
        from airflow.models.dag import _get_or_create_dagrun as get_or_create_dagrun

        known, who = SchedulerDAG.from_sdk_dag(dag), {}
    else:
        from airflow.models.dagrun import get_or_create_dagrun

        known, who = _as_the_scheduler_reads_it(dag), {"triggering_user_name": "a test"}
    with create_session() as session:
        get_or_create_dagrun(
            dag=known,
            run_id=RUN_ID,
            logical_date=now,
            data_interval=None,
            run_after=now,
            start_date=now,
            conf={},
            triggered_by=DagRunTriggeredByType.TEST,
            session=session,
            **who,
        )
    return RUN_ID


def _as_the_scheduler_reads_it(dag: Any) -> Any:
    from airflow_runs import serialization

    found = serialization()
    to, back = ("serialize_dag", "deserialize_dag") if hasattr(found, "deserialize_dag") else ("to_dict", "from_dict")
    return getattr(found, back)(getattr(found, to)(dag))


def _run_task(ti: Any, task: Any, session: Any, *, triggerer: bool) -> None:
    """Run one try as ``dag.test()`` does."""
    if AIRFLOW_3:
        from airflow.sdk.definitions.dag import _run_task as run

        if AIRFLOW == (3, 0):
            ti.state, resumed = "scheduled", 0
            while str(ti.state) == "scheduled" and resumed < 20:  # it does not go on by itself after a trigger
                ti.task, resumed = task, resumed + 1
                run(ti=ti, run_triggerer=triggerer)
                session.commit()
        else:
            run(ti=ti, task=task, run_triggerer=triggerer)
        return
    import airflow.providers.fab.auth_manager.models  # noqa: F401 - its tables: the metadata refer to them
    from airflow.models.dag import _run_task as run

    with suppress(Exception):  # Airflow has noted it: in the task's state, and in the callbacks
        run(ti=ti, inline_trigger=triggerer, session=session)


def without_the_store_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Airflow 3.3 look as older ones do."""
    known = durable.store_for
    monkeypatch.setattr(durable, "store_for", lambda context, *place: known({"ti": context["ti"]}, *place))


__all__ = ["HAS_STORE", "AirflowHere", "Tries", "generating", "without_the_store_of_airflow"]
