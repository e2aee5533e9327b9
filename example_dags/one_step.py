"""One step: a prompt goes in, saved images come out.

``QwenImageGenerateOperator`` submits the request, waits and saves. It returns the paths, and pushes what is known of
each image as the XCom ``images``. With ``deferrable=True`` the wait holds no worker. A JSON with prompt, time and hash
is stored beside each image.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

with DAG(
    dag_id="qwenimage_one_step",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={
        "prompt": "a paper boat on a rainy street, macro photograph",
        "output_path": "file:///tmp/qwenimage",
    },
    tags=["qwenimage", "example"],
):
    QwenImageGenerateOperator(
        task_id="generate",
        prompt="{{ params.prompt }}",
        aspect_ratio="4:3",
        num_outputs=2,
        output_path="{{ params.output_path }}",
        sidecar=True,
        deferrable=True,
        timeout=900,
    )
