"""Assets: one DAG makes images, another one runs whenever there are new ones.

The generate task declares the asset as its outlet. The event that it leaves tells in ``extra`` which files were made
(``paths``) and by which generation. On Airflow 2 assets are called datasets.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow import DAG

from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

try:
    from airflow.sdk import Asset
except ImportError:  # Airflow 2
    from airflow.datasets import Dataset as Asset  # type: ignore[import-not-found, no-redef]

POSTERS = Asset("file:///tmp/qwenimage/posters")

with DAG(
    dag_id="qwenimage_asset_producer",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={
        "prompt": "travel poster of a mountain railway, flat colours",
        "output_path": "file:///tmp/qwenimage/posters",
    },
    tags=["qwenimage", "example"],
):
    QwenImageGenerateOperator(
        task_id="draw",
        prompt="{{ params.prompt }}",
        aspect_ratio="3:4",
        output_path="{{ params.output_path }}",
        outlets=[POSTERS],
        timeout=900,
    )

with DAG(
    dag_id="qwenimage_asset_consumer",
    schedule=[POSTERS],
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    tags=["qwenimage", "example"],
) as consumer:

    @consumer.task
    def hang_up(triggering_asset_events: Any = None, triggering_dataset_events: Any = None) -> list[str]:
        """Return the files that are new; a run may be about several events."""
        events = triggering_asset_events or triggering_dataset_events or {}
        return [path for asset in events for event in events[asset] for path in event.extra["paths"]]

    hang_up()
