"""The decorator: a function returns a prompt, and the task is the image.

``@task.qwenimage`` does what ``QwenImageGenerateOperator`` does and takes the same arguments. The function may also
return a dict with other fields of the request. It is called once per try, not again after the wait, and its prompt is
shown under the task's rendered templates.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Any

from airflow import DAG

try:
    from airflow.sdk import task
except ImportError:  # Airflow 2
    from airflow.decorators import task  # type: ignore[attr-defined, no-redef]

with DAG(
    dag_id="qwenimage_taskflow_decorator",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    doc_md=__doc__,
    params={"moods": ["calm", "stormy"], "output_path": "file:///tmp/qwenimage"},
    tags=["qwenimage", "example"],
):

    @task
    def moods(params: dict[str, Any] | None = None) -> list[str]:
        """Say what is to be drawn."""
        return list((params or {})["moods"])

    @task.qwenimage(output_path="{{ params.output_path }}", deferrable=True, timeout=900)
    def draw(mood: str) -> dict[str, Any]:
        """Turn a mood into a request."""
        return {
            "prompt": f"a {mood} sea with one sailing boat, gouache",
            "aspect_ratio": "16:9" if mood == "calm" else "9:16",
        }

    @task
    def report(paths: list[list[str]]) -> str:
        """Name the files."""
        return ", ".join(PurePosixPath(path).name for drawn in paths for path in drawn)

    report(draw.expand(mood=moods()))
