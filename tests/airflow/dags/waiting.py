"""Sensors of every mode and setting, all about the one generation that the run is told of."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow import DAG
from recorder import CALLBACKS

from airflow_provider_qwenimage.sensors import QwenImageTaskSensor

MODES: dict[str, dict[str, Any]] = {
    "poke": {},
    "reschedule": {"mode": "reschedule"},
    "deferrable": {"deferrable": True},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "soft_fail": {"soft_fail": True},
    "never_fail": {"never_fail": True},
}

for timeout in (1, 30):
    with DAG(
        dag_id=f"waiting_{timeout}s",
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        default_args={"retries": 0, **CALLBACKS},
    ):
        for mode, how in MODES.items():
            for setting, what in SETTINGS.items():
                QwenImageTaskSensor(
                    task_id=f"{mode}_{setting}",
                    generation_id="{{ dag_run.conf['generation_id'] }}",
                    qwenimage_conn_id="{{ dag_run.conf.get('conn_id', 'qwenimage_default') }}",
                    poke_interval=0.2,
                    timeout=timeout,
                    **how,
                    **what,
                )
