"""Deferrals that Airflow's scheduler takes for failures: they are over before the worker that deferred has ended.

A worker may be slow to end for many reasons, such as the upload of its log; here a link to a page takes its time.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow import DAG
from airflow.sdk import BaseOperatorLink

from airflow_provider_qwenimage import waits
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

waits.SHORTEST_DEFERRAL = 0.0


class SlowLink(BaseOperatorLink):
    """Airflow asks for it at the end of a run, when the deferral is known to the scheduler already."""

    name = "slow"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        if getattr(operator, "finished_generation", None) is None:
            time.sleep(5)
        return ""


class Slow(QwenImageGenerateOperator):
    operator_extra_links = (SlowLink(),)


with DAG(
    dag_id="raced",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    default_args={"retries": 8, "retry_delay": timedelta(seconds=1)},
    max_active_tasks=200,
):
    Slow.partial(task_id="gen", output_path="{{ dag_run.conf['output_path'] }}", deferrable=True, timeout=600).expand(
        prompt=[f"kite {number}" for number in range(6)]
    )
