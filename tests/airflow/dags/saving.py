"""The save operator with a retry."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow import DAG
from recorder import CALLBACKS

from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

with DAG(
    dag_id="saving",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 1, "retry_delay": timedelta(0), **CALLBACKS},
):
    QwenImageToObjectStorageOperator(
        task_id="save",
        result_urls="{{ dag_run.conf['urls'] }}",
        output_path="{{ dag_run.conf['output_path'] }}",
        file_name="{{ dag_run.conf.get('file_name', '{generation_id}_{index}.{ext}') }}",
    )
