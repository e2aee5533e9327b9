"""Keeps the exceptions that tasks end in; DAG files of the tests name ``record`` as their callback."""

from __future__ import annotations

from typing import Any

ERRORS: list[tuple[str, BaseException]] = []


def record(context: Any) -> None:
    ERRORS.append((context["ti"].task_id, context.get("exception")))


CALLBACKS = {"on_failure_callback": record, "on_retry_callback": record, "on_skipped_callback": record}
