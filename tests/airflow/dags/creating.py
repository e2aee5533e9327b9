"""Create operators as DAG authors write them: with a retry, with templates, with arguments from other tasks, mapped."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow import DAG
from recorder import CALLBACKS

from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator

COMMON = {
    "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "default_args": {"retries": 1, "retry_delay": timedelta(0), **CALLBACKS},
}

with DAG(dag_id="creating_once", schedule=None, **COMMON):
    QwenImageCreateTaskOperator(task_id="create", prompt="a kite", num_outputs=2)

with DAG(dag_id="creating_quietly", schedule=None, **COMMON):
    QwenImageCreateTaskOperator(task_id="create", prompt="a kite", do_xcom_push=False)

with DAG(dag_id="creating_from_templates", schedule=None, **COMMON):
    QwenImageCreateTaskOperator(
        task_id="create",
        prompt="{{ dag_run.conf['prompt'] }}",
        image_urls="{{ dag_run.conf.get('image_urls') }}",
        aspect_ratio="{{ dag_run.conf.get('aspect_ratio') }}",
        num_outputs="{{ dag_run.conf.get('num_outputs', 1) }}",
        prompt_optimization="{{ dag_run.conf.get('prompt_optimization', true) }}",
        model_id="{{ dag_run.conf.get('model_id', '0-24') }}",
    )

with DAG(dag_id="creating_from_tasks", schedule=None, **COMMON) as from_tasks:

    @from_tasks.task
    def given(what: str, dag_run=None):
        return dag_run.conf[what]

    QwenImageCreateTaskOperator(
        task_id="create",
        prompt=given.override(task_id="prompt")("prompt"),
        aspect_ratio=given.override(task_id="ratio")("aspect_ratio"),
        num_outputs=given.override(task_id="number")("num_outputs"),
    )

with DAG(dag_id="creating_mapped", schedule=None, **COMMON) as mapped:

    @mapped.task
    def prompts() -> list[str]:
        return ["a kite", "ein Drachen", "风筝"]

    QwenImageCreateTaskOperator.partial(task_id="create", num_outputs=1).expand(
        prompt=prompts(), aspect_ratio=["3:4", "16:9"]
    )
