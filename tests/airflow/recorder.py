"""Keeps the exceptions that tasks end in; DAG files of the tests name ``record`` as their callback."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

ERRORS: list[tuple[str, BaseException]] = []


def record(context: Any) -> None:
    ERRORS.append((context["ti"].task_id, context.get("exception")))


CALLBACKS = {"on_failure_callback": record, "on_retry_callback": record, "on_skipped_callback": record}


def _tell_callbacks_the_error() -> None:
    """Do in ``dag.test()`` of Airflow 3.0 to 3.2 what only their real workers do."""
    with suppress(ImportError):  # Airflow 2
        from airflow.sdk.execution_time import task_runner

        finalize = task_runner.finalize

        def finalize_with_error(ti: Any, state: Any, context: Any, log: Any, error: Any = None) -> None:
            if error is not None:
                context.setdefault("exception", error)
            finalize(ti, state, context, log, error)

        task_runner.finalize = finalize_with_error


_tell_callbacks_the_error()
