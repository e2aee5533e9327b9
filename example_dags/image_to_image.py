"""Image to image: draw a picture, then turn it into another style.

``image_urls`` takes one public URL. Here it is the first result of another generation, used unchanged. An image has
its own proportions, so ``aspect_ratio`` is left out.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

with DAG(
    dag_id="qwenimage_image_to_image",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={
        "prompt": "an old harbour with fishing boats",
        "style": "turn this into a woodcut print",
        "output_path": "file:///tmp/qwenimage",
    },
    tags=["qwenimage", "example"],
):
    draw = QwenImageCreateTaskOperator(task_id="draw", prompt="{{ params.prompt }}", aspect_ratio="4:3")
    drawn = QwenImageTaskSensor(task_id="drawn", generation_id=draw.output, timeout=900)
    restyle = QwenImageCreateTaskOperator(task_id="restyle", prompt="{{ params.style }}", image_urls=drawn.output)
    restyled = QwenImageTaskSensor(task_id="restyled", generation_id=restyle.output, timeout=900)
    QwenImageToObjectStorageOperator(
        task_id="save", result_urls=restyled.output, output_path="{{ params.output_path }}"
    )
