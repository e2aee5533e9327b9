"""Nightly run with a credits guard: no night starts that the account can't pay for.

The sensor waits until somebody has topped up the account; while it does, it holds no worker. ``min_credits`` guards
each purchase as well: if others have used up the credits meanwhile, the task fails before it buys, without a retry,
and tells the balance.
"""

from __future__ import annotations

from datetime import datetime, timezone

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageGenerateOperator
from airflow_provider_qwenimage.sensors import QwenImageCreditsSensor

SUBJECTS = ["the sea", "the forest", "the city"]

with DAG(
    dag_id="qwenimage_nightly_with_credits_guard",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    params={"credits_per_night": 60, "credits_per_image": 20, "output_path": "file:///tmp/qwenimage"},
    tags=["qwenimage", "example"],
):
    enough = QwenImageCreditsSensor(
        task_id="enough_credits",
        min_credits="{{ params.credits_per_night }}",
        mode="reschedule",
        poke_interval=600,
        timeout=8 * 3600,
    )
    draw = QwenImageGenerateOperator.partial(
        task_id="draw",
        min_credits="{{ params.credits_per_image }}",
        output_path="{{ params.output_path }}",
        file_name="{{ ds }}/{generation_id}.{ext}",
        timeout=900,
        retries=2,
    ).expand(prompt=[f"{subject} on a night like no other, oil painting" for subject in SUBJECTS])
    enough >> draw
