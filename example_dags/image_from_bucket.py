"""Image from a bucket: a JPEG or PNG in object storage is uploaded and redrawn in another style.

``image`` takes any path that Airflow's ``ObjectStoragePath`` opens, such as ``s3://my_aws_conn@bucket/in/photo.jpg``.
Here the first task puts a picture into the folder; in your DAG it is there already. The file is checked before it
leaves: it has to be a whole JPEG or PNG of at most 10 MB.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

with DAG(
    dag_id="qwenimage_image_from_bucket",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={
        "style": "turn this into a pencil drawing",
        "output_path": "file:///tmp/qwenimage",
    },
    tags=["qwenimage", "example"],
):
    photo = QwenImageGenerateOperator(
        task_id="photo",
        prompt="a market square in the morning, photograph",
        output_path="{{ params.output_path }}",
        file_name="in/{generation_id}.{ext}",
        timeout=900,
    )
    QwenImageGenerateOperator(
        task_id="redraw",
        prompt="{{ params.style }}",
        image=photo.output,
        output_path="{{ params.output_path }}",
        file_name="out/{generation_id}.{ext}",
        timeout=900,
    )
