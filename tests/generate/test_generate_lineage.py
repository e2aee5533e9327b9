"""OpenLineage: saved images are the task's outputs, the generation id is in a run facet, the prompt is nowhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from airflow_provider_qwenimage.emulator import Emulator

pytest.importorskip("airflow.providers.openlineage", reason="the OpenLineage provider is not installed")

SECRET_PROMPT = "a kite that nobody may know of"

# In a process of its own: the provider's listener starts with Airflow and reads its configuration once.
RUN = """
from datetime import datetime, timezone
import airflow_provider_qwenimage.waits as waits
from dags_made_here import Bench, task
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator
from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator
from pathlib import Path
import os
waits.SHORTEST_DEFERRAL = 0.25
bench, out = Bench(Path(os.environ["AIRFLOW_HOME"])), os.environ["OUT"]
with bench.dag() as dag:
    made = [
        QwenImageGenerateOperator(
            task_id=name, prompt=os.environ["PROMPT"], output_path=f"{out}/{name}", num_outputs=2, deferrable=deferrable
        )
        for name, deferrable in (("sync", False), ("deferrable", True))
    ]
    drawn = [
        QwenImageGenerateOperator(
            task_id=f"{name}_from_image", prompt=os.environ["PROMPT"], image=os.environ["IMAGE"], deferrable=deferrable
        )
        for name, deferrable in (("sync", False), ("deferrable", True))
    ]

    @task.qwenimage(deferrable=True)
    def decorated_from_image():
        return {"prompt": os.environ["PROMPT"], "image": os.environ["IMAGE"]}

    decorated_from_image()
    urls = QwenImageGenerateOperator(task_id="urls", prompt=os.environ["PROMPT"])
    save = QwenImageToObjectStorageOperator(task_id="save", result_urls=urls.output, output_path=f"{out}/save")
run = bench.run_dag(dag)
assert run.state == "success", run.errors
"""


@pytest.fixture(scope="module")
def _events() -> dict[str, Any]:
    return {}


@pytest.fixture
def completed(
    airflow_db: Path, service: Emulator, tmp_path_factory: pytest.TempPathFactory, _events: dict[str, Any]
) -> dict[str, Any]:
    """What the console transport's file twin got: task id -> its COMPLETE event; run once."""
    if not _events:
        folder = tmp_path_factory.mktemp("lineage")
        log = folder / "events.jsonl"
        transport = {"type": "file", "log_file_path": str(log), "append": True}
        environment = {
            **os.environ,
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__DISABLED": "False",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OUT": str(folder / "out"),
            "IMAGE": str(folder / "in.png"),
            "PROMPT": SECRET_PROMPT,
        }
        Image.new("RGB", (20, 20), "teal").save(folder / "in.png")
        done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        _events["text"] = log.read_text(encoding="utf-8")
        _events["out"] = folder / "out"
        _events["image"] = folder / "in.png"
        for line in _events["text"].splitlines():
            event = json.loads(line)
            if event["eventType"] == "COMPLETE":
                _events[event["job"]["name"].rpartition(".")[2]] = event
    return _events


@pytest.mark.parametrize("task_id", ["sync", "deferrable", "save"])
def test_saved_images_are_outputs(task_id: str, completed: dict[str, Any]):
    """Every file that a task saved is an output of it, by its path."""
    saved = {str(path) for path in (completed["out"] / task_id).rglob("*.jpeg")}
    outputs = {output["name"] for output in completed[task_id]["outputs"]}
    assert saved
    assert saved <= {name if name.startswith("/") else f"/{name}" for name in outputs}
    assert {output["namespace"] for output in completed[task_id]["outputs"]} == {"file"}


@pytest.mark.parametrize("task_id", ["sync_from_image", "deferrable_from_image", "decorated_from_image"])
def test_the_image_to_start_from_is_an_input(task_id: str, completed: dict[str, Any]):
    """Also of a task that was deferred, and so ends in another process than the one that opened the image."""
    found = {(one["namespace"], "/" + one["name"].lstrip("/")) for one in completed[task_id]["inputs"]}
    assert found == {("file", str(completed["image"]))}


@pytest.mark.parametrize("task_id", ["sync", "deferrable", "urls"])
def test_generation_is_an_external_query(task_id: str, completed: dict[str, Any]):
    """The generation id is a facet of the run, with the service as its source."""
    facet = completed[task_id]["run"]["facets"]["externalQuery"]
    assert len(facet["externalQueryId"]) == 32
    assert facet["source"].startswith("http://127.0.0.1:")
    if task_id != "urls":
        names = [path.name for path in (completed["out"] / task_id).rglob("*.jpeg")]
        assert all(name.startswith(facet["externalQueryId"]) for name in names)


def test_prompt_and_key_are_nowhere(completed: dict[str, Any]):
    """Not one event tells what was drawn, or by which key."""
    assert SECRET_PROMPT not in completed["text"]
    assert "key_5f1c0e7ab3924d68a1d7c2f4908be36d" not in completed["text"]
