"""Many prompts: one generation each, through dynamic task mapping.

Every mapped task has its own retries and log. The waits are deferrable: they hold no worker, however many there are.
``max_active_tis_per_dag`` keeps the number of requests at a time friendly.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

PROMPTS = [
    "a red bicycle against a white wall",
    "ein Leuchtturm im Nebel",
    "一只在竹林里的熊猫",
]

with DAG(
    dag_id="qwenimage_many_prompts",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={"output_path": "file:///tmp/qwenimage"},
    tags=["qwenimage", "example"],
):
    create = QwenImageCreateTaskOperator.partial(
        task_id="create",
        aspect_ratio="4:3",
        max_active_tis_per_dag=4,
    ).expand(prompt=PROMPTS)
    wait = QwenImageTaskSensor.partial(
        task_id="wait",
        deferrable=True,
        timeout=900,
    ).expand(generation_id=create.output)
    QwenImageToObjectStorageOperator.partial(
        task_id="save",
        output_path="{{ params.output_path }}",
    ).expand(result_urls=wait.output)
