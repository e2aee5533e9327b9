"""Text to image: the three steps of a generation, each a task of its own.

Create buys a generation and returns its id, the sensor waits for it, the last task saves the images before their URLs
expire. If saving fails, Airflow retries the saving alone: nothing is bought again.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

with DAG(
    dag_id="qwenimage_text_to_image",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={
        "prompt": "a lighthouse on a cliff at dusk, watercolour",
        "output_path": "file:///tmp/qwenimage",
    },
    tags=["qwenimage", "example"],
):
    create = QwenImageCreateTaskOperator(
        task_id="create",
        prompt="{{ params.prompt }}",
        aspect_ratio="16:9",
    )
    wait = QwenImageTaskSensor(
        task_id="wait",
        generation_id=create.output,
        timeout=900,
    )
    QwenImageToObjectStorageOperator(
        task_id="save",
        result_urls=wait.output,
        output_path="{{ params.output_path }}",
    )
