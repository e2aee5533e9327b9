"""Makes ``dag.test()`` of Airflow 3.0 to 3.2 do what their real workers do, or what Airflow 3.3 does.

Imported for its effect, before a DAG is run; on Airflow 2 and 3.3 there is little or nothing to do.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from datetime import datetime
from typing import Any


def _tell_callbacks_the_error() -> None:
    """Callbacks get the exception that the task ended in, as on a worker; 3.0 to 3.2 leave it out."""
    finalize = task_runner.finalize

    def finalize_with_error(ti: Any, state: Any, context: Any, log: Any, error: Any = None) -> None:
        if error is not None:
            context.setdefault("exception", error)
        finalize(ti, state, context, log, error)

    task_runner.finalize = finalize_with_error


def _read_dates() -> None:
    """A sensor's first reschedule is a date, as on a worker; 3.0 hands over its text, which no sensor can bear."""
    given = task_runner.RuntimeTaskInstance.get_first_reschedule_date

    def read(self: Any, context: Any) -> Any:
        first = given(self, context)
        return datetime.fromisoformat(first.replace("Z", "+00:00")) if isinstance(first, str) else first

    task_runner.RuntimeTaskInstance.get_first_reschedule_date = read


def _keep_the_api_server() -> None:
    """All tasks have one API server, as in 3.3; before it each has a new one, which takes longer than the task."""
    if not hasattr(supervisor.in_process_api_server, "cache_info"):
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)


with suppress(ImportError):  # Airflow 2 has neither
    from airflow.sdk.execution_time import supervisor, task_runner

    _tell_callbacks_the_error()
    _read_dates()
    _keep_the_api_server()
