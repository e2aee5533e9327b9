"""Human review: nothing is published that nobody has looked at.

The review shows the images under "Required Actions" of the task. "Publish" copies them to the published ones; "Draw
again" makes new ones from the prompt as the reviewer has changed it, and asks once more. If nobody answers within a day
nothing is published. Needs Airflow 3.1 or later; on older versions this file holds no DAG.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from inspect import signature
from typing import Any

from airflow import DAG
from airflow import __version__ as airflow_version

from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

SHOW = "{% for image in ti.xcom_pull(task_ids='TASK', key='images') %}![image]({{ image.url }})\n\n{% endfor %}"
CHANGED = "{{ ti.xcom_pull(task_ids='review')['params_input']['changed_prompt'] or params.prompt }}"

if tuple(map(int, airflow_version.split(".")[:2])) >= (3, 1):
    from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
    from airflow.sdk import ObjectStoragePath, Param, task

    # Before its release 1.13, Airflow's standard provider called the time for an answer execution_timeout.
    IS_NEW = "response_timeout" in signature(HITLOperator).parameters
    WITHIN_A_DAY: dict[str, Any] = {"response_timeout" if IS_NEW else "execution_timeout": timedelta(days=1)}

    with DAG(
        dag_id="qwenimage_human_review",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        doc_md=__doc__,
        params={
            "prompt": "a friendly robot waters flowers, picture book",
            "output_path": "file:///tmp/qwenimage",
        },
        tags=["qwenimage", "example"],
    ):
        drawn = QwenImageGenerateOperator(
            task_id="draw",
            prompt="{{ params.prompt }}",
            num_outputs=2,
            output_path="{{ params.output_path }}",
            file_name="drafts/{generation_id}_{index}.{ext}",
            timeout=900,
        )
        review = HITLOperator(
            task_id="review",
            subject="Publish these images?",
            body="Prompt: {{ params.prompt }}\n\n" + SHOW.replace("TASK", "draw"),
            options=["Publish", "Draw again"],
            params={"changed_prompt": Param("", type="string", description="For drawing again; empty: as it was")},
            **WITHIN_A_DAY,
        )

        @task.branch
        def decide(answer: dict[str, Any]) -> str:
            """Follow the reviewer."""
            return "publish" if answer["chosen_options"] == ["Publish"] else "draw_again"

        redrawn = QwenImageGenerateOperator(
            task_id="draw_again",
            prompt=CHANGED,
            num_outputs=2,
            output_path="{{ params.output_path }}",
            file_name="drafts/{generation_id}_{index}.{ext}",
            timeout=900,
        )
        approve = ApprovalOperator(
            task_id="approve",
            subject="Publish the new images?",
            body=f"Prompt: {CHANGED}\n\n" + SHOW.replace("TASK", "draw_again"),
            **WITHIN_A_DAY,
            defaults="Reject",
        )

        @task(trigger_rule="none_failed_min_one_success")
        def publish(ti: Any = None, params: dict[str, str] | None = None) -> list[str]:
            """Copy the images that were approved."""
            folder = ObjectStoragePath((params or {})["output_path"]) / "published"
            if folder.protocol in ("", "file"):
                folder.mkdir(parents=True, exist_ok=True)
            paths = ti.xcom_pull(task_ids="draw_again") or ti.xcom_pull(task_ids="draw")
            for draft in map(ObjectStoragePath, paths):
                with draft.open("rb") as source, (folder / draft.name).open("wb") as target:
                    shutil.copyfileobj(source, target)
            return [str(folder / path.rsplit("/", 1)[-1]) for path in paths]

        published = publish()
        drawn >> review
        decide(review.output) >> [redrawn, published]
        redrawn >> approve >> published
