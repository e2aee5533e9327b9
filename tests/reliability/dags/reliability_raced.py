"""Deferrals as short as can be: Airflow's scheduler takes many of them for failures, which is wanted here."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow import DAG

from airflow_provider_qwenimage import waits
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

waits.SHORTEST_DEFERRAL = 0.0

with DAG(
    dag_id="raced",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 8, "retry_delay": timedelta(seconds=1)},
    max_active_tasks=200,
):
    QwenImageGenerateOperator.partial(
        task_id="gen", output_path="{{ dag_run.conf['output_path'] }}", deferrable=True, timeout=600
    ).expand(prompt=[f"kite {number}" for number in range(40)])
