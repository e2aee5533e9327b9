"""The same batch of four, two at a time: one waits on its worker, one is deferred for each of two waves."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator

for how, deferrable in (("on_the_worker", False), ("deferred", True)):
    with DAG(
        dag_id=f"batching_{how}",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        params={"output_path": "file:///tmp/qwenimage"},
    ):
        QwenImageBatchGenerateOperator(
            task_id="batch",
            requests=[{"key": animal, "prompt": f"a {animal} at dusk"} for animal in ("cat", "dog", "fox", "owl")],
            output_path="{{ params.output_path }}",
            file_name="{key}.{ext}",
            max_active=2,
            deferrable=deferrable,
        )
