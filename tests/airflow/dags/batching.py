"""Batches of both kinds, from a file of requests, in two waves: one waits on its worker, one is deferred."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG
from recorder import CALLBACKS

from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator

for how, deferrable in (("on_the_worker", False), ("deferred", True)):
    with DAG(
        dag_id=f"batching_{how}",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        default_args={"retries": 0, **CALLBACKS},
    ):
        QwenImageBatchGenerateOperator(
            task_id="batch",
            requests="{{ dag_run.conf['requests'] }}",
            output_path="{{ dag_run.conf['output_path'] }}",
            file_name="{key}_{index}.{ext}",
            max_active=2,
            min_credits=1,
            sidecar=True,
            embed_metadata=True,
            deferrable=deferrable,
        )
