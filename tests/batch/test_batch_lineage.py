"""OpenLineage: it learns where a batch came from and where it went, not every one of thousands of images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_qwenimage.emulator import Emulator

pytest.importorskip("airflow.providers.openlineage", reason="the OpenLineage provider is not installed")

SECRET_PROMPT = "a kite that nobody may know of"
# In a process of its own: the provider's listener starts with Airflow and reads its configuration once. One for each
# task: in dag.test() the tasks of a process share one collector, and the second reports the files of the first too.
RUN = """
import os
from pathlib import Path
import airflow_provider_qwenimage.waits as waits
from dags_made_here import Bench
from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator
waits.SHORTEST_DEFERRAL = 0.25
bench, folder = Bench(Path(os.environ["AIRFLOW_HOME"])), os.environ["FOLDER"]
with bench.dag() as dag:
    QwenImageBatchGenerateOperator(
        task_id="batch",
        requests=f"{folder}/requests.jsonl",
        output_path=f"{folder}/out",
        manifest=f"{folder}/manifest.jsonl",
        file_name="{key}.{ext}",
        sidecar=True,
        max_active=2,
        poll_interval=0.2,
        deferrable=bool(os.environ["DEFERRABLE"]),
    )
run = bench.run_dag(dag)
assert run.state == "success", run.errors
"""


@pytest.fixture(params=["sync", "deferrable"])
def told(request: pytest.FixtureRequest, airflow_db: Path, start: Any, tmp_path: Path) -> str:
    """Run a batch of four in two waves; return the events that OpenLineage got, a JSON text on each line."""
    emulator: Emulator = start(duration=1.0)
    log = tmp_path / "events.jsonl"
    (tmp_path / "requests.jsonl").write_text(f"{json.dumps(SECRET_PROMPT)}\n" * 4)
    environment = {
        **os.environ,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(log), "append": True}),
        "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "FOLDER": str(tmp_path),
        "DEFERRABLE": "yes" if request.param == "deferrable" else "",
    }
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, timeout=120)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    assert ("in the triggerer" in output) == (request.param == "deferrable")
    assert emulator.report()["bought"] == len(list((tmp_path / "out").glob("*.jpeg"))) == 4
    return log.read_text(encoding="utf-8")


def test_folder_manifest_and_requests_are_told_once(told: str, tmp_path: Path):
    """Whatever the number of images, sidecars and ledger files, and in whatever process the task ends."""
    events = [json.loads(line) for line in told.splitlines()]
    (completed,) = [
        event for event in events if event["eventType"] == "COMPLETE" and event["job"]["name"].endswith(".batch")
    ]
    assert files_in(completed["outputs"]) == [("file", f"{tmp_path}/manifest.jsonl"), ("file", f"{tmp_path}/out")]
    assert files_in(completed["inputs"]) == [("file", f"{tmp_path}/requests.jsonl")]
    assert SECRET_PROMPT not in told


def files_in(sets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((one["namespace"], "/" + one["name"].strip("/")) for one in sets)
