"""Generations in every mode, many at a time, saved; a try is retried at once."""

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
SIZES = {"few": 4, "some": 20, "sixty": 60, "many": 200}

for size, count in SIZES.items():
    for mode, deferrable in (("sync", False), ("deferred", True)):
        with DAG(dag_id=f"{size}_{mode}", max_active_tasks=200, **COMMON):
            QwenImageGenerateOperator.partial(
                task_id="gen",
                output_path="{{ dag_run.conf['output_path'] }}",
                deferrable=deferrable,
                timeout=600,
            ).expand(prompt=[f"kite {number}" for number in range(count)])
