"""The DAG whose middle the page about uploads shows."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator
from airflow_provider_qwenimage.transfers import ObjectStorageToQwenImageOperator

with DAG(
    dag_id="docs_upload_then_create",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    params={"photo": "/tmp/photo.jpg"},
):
    upload = ObjectStorageToQwenImageOperator(
        task_id="upload",
        image_path="{{ params.photo }}",  # a local path, or s3://my_aws_conn@bucket/in/photo.jpg
    )
    restyle = QwenImageCreateTaskOperator(
        task_id="restyle",
        prompt="turn this into a woodcut print",
        image_urls=upload.output,
    )
