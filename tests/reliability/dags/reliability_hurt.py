"""Generations on the worker and deferred, few and many at a time, saved; a try is retried at once."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

COMMON = {
    "schedule": None,
    "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "default_args": {"retries": 4, "retry_delay": timedelta(seconds=1)},
}
KINDS = {
    "few_sync": (4, False),
    "few_deferred": (4, True),
    "some_deferred": (8, True),
    "twenty_deferred": (20, True),
    "forty_deferred": (40, True),
    "many_deferred": (200, True),
}

for dag_id, (count, deferrable) in KINDS.items():
    with DAG(dag_id=dag_id, max_active_tasks=200, **COMMON):
        QwenImageGenerateOperator.partial(
            task_id="gen",
            output_path="{{ dag_run.conf['output_path'] }}",
            deferrable=deferrable,
            timeout=600,
        ).expand(prompt=[f"kite {number}" for number in range(count)])
