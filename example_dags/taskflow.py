"""TaskFlow: plain functions around a generation.

A function writes the prompt, another one reports on the saved images. The hook is there for whatever no operator does;
here it asks for the account's balance, which costs nothing.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

with DAG(
    dag_id="qwenimage_taskflow",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={"product": "a ceramic teapot", "output_path": "file:///tmp/qwenimage"},
    tags=["qwenimage", "example"],
) as dag:

    @dag.task
    def write_prompt(params: dict[str, str] | None = None) -> str:
        """Turn a product into a prompt."""
        return f"{(params or {})['product']}, studio photograph, soft light, plain background"

    @dag.task
    def report(paths: list[str]) -> str:
        """Say what was made and what is left."""
        return f"{len(paths)} image(s) saved: {', '.join(paths)}; {QwenImageHook().get_credits():g} credits left"

    create = QwenImageCreateTaskOperator(task_id="create", prompt=write_prompt(), aspect_ratio="3:4", num_outputs=2)
    wait = QwenImageTaskSensor(task_id="wait", generation_id=create.output, timeout=900)
    save = QwenImageToObjectStorageOperator(
        task_id="save", result_urls=wait.output, output_path="{{ params.output_path }}"
    )
    report(save.output)
