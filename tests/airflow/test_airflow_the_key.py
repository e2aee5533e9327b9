"""The API key is nowhere: not in output, logs or any table, whatever happens and however much is logged."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from airflow_runs import AirflowHere, tables, uri
from PIL import Image

from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.emulator.options import DEFAULT_API_KEY
from airflow_provider_qwenimage.hooks import QwenImageHook

KEY = "key_7d1b0c2e9f8a46358e4d6c5b1a2f3e90"


def test_the_key_is_nowhere(airflow: AirflowHere, start: Callable[..., Emulator], tmp_path: Path):
    """After runs that succeed, defer and fail in all ways, with debug logs, no trace of the key is found."""
    emulator = start(api_key=KEY)
    hook = QwenImageHook()
    emulator.plan("create", "fail")
    failing = hook.create_task(GenerationRequest(prompt="a kite")).generation_id
    emulator.plan("get", "data", set={"status": 1}, delete=["result_urls"])  # so that the first wait is deferred
    gone = [f"{emulator.url}/images/{failing}_0.jpeg?X-Amz-Signature=0"]
    # The creates of the runs below, in their order; the many prompts are three, and so is each batch.
    emulator.plan("create", "refuse", skip=3, message="Invalid API KEY")
    emulator.plan("create", "close_after", skip=4)
    emulator.plan("create", "http_error", skip=5, status=503)  # sent again, so that the first batch has four
    emulator.plan("create", "data", skip=9, delete=["estimated_time"])  # so that the second batch is deferred
    emulator.plan("create", "fail", skip=10)
    emulator.plan("create", "refuse", skip=12, message="Invalid API KEY", times=100)
    batch = {"requests": str(_requests_in(tmp_path)), "output_path": str(tmp_path / "batches")}
    runs: list[tuple[str, dict[str, Any], str]] = [
        ("qwenimage_many_prompts", {"output_path": f"file://{tmp_path}"}, "success"),
        ("creating_once", {}, "failed"),
        ("creating_once", {}, "failed"),
        ("creating_from_templates", {"prompt": "", "num_outputs": 9}, "failed"),
        ("waiting_30s", {"generation_id": failing}, "failed"),
        ("waiting_30s", {"generation_id": failing, "conn_id": "not_there"}, "failed"),
        ("saving", {"urls": gone, "output_path": str(tmp_path)}, "failed"),
        ("batching_on_the_worker", batch, "success"),
        ("batching_deferred", batch, "failed"),  # one of its generations
        ("batching_deferred", batch, "failed"),  # refused
    ]
    indexes = tmp_path / "indexes"
    indexes.mkdir()
    output = _run_with_debug_logs(emulator, [run[:2] for run in runs], indexes)
    assert [line.split(": ")[1] for line in output.splitlines() if line.startswith("RUN ")] == [run[2] for run in runs]

    # That the search would find something: these are where the key could be, and they are not empty.
    assert "Submitted generation" in output
    assert "running trigger in line" in output
    content = dict(tables(airflow.home / "airflow.db"))
    for table in ("xcom", "rendered_task_instance_fields", "task_instance", "dag_run"):
        assert content[table], table
    assert any(failing.encode() in _bytes(row) for row in content["rendered_task_instance_fields"])
    assert "Waiting for 2 generations in the triggerer" in output
    outcomes = [json.loads(line)["outcome"] for path in _manifests_in(tmp_path) for line in path.open()]
    assert sorted(outcomes) == ["failed", *["not_submitted"] * 3, *["saved"] * 5]
    assert len(list((tmp_path / "batches").glob(".qwenimage/batch-*/segment-*"))) >= 3
    assert all(b"a kite" in path.read_bytes() for path in indexes.iterdir())
    assert len(list(indexes.iterdir())) > 3  # one more for each resumption

    for needle in _shapes_of(KEY):
        assert needle not in output.encode(errors="replace")
        for table, rows in content.items():
            assert not [row for row in rows if needle in _bytes(row)], table
        for path, data in _files(airflow.home, tmp_path):
            assert needle not in data, path


def test_the_key_of_all_other_tests_is_nowhere_either(airflow: AirflowHere):
    """Whatever ran before in this Airflow left no trace of the key that it used."""
    for needle in _shapes_of(DEFAULT_API_KEY):
        for table, rows in tables(airflow.home / "airflow.db"):
            assert not [row for row in rows if needle in _bytes(row)], table
        for path, data in _files(airflow.home):
            assert needle not in data, path


def _requests_in(folder: Path) -> Path:
    """A file of three requests; one starts from an image that is uploaded."""
    image = folder / "in.png"
    Image.new("RGB", (20, 20), "teal").save(image)
    requests = [{"prompt": "a kite", "key": "up"}, {"prompt": "a kite", "image": str(image)}, "a ship"]
    path = folder / "requests.jsonl"
    path.write_text("".join(json.dumps(request) + "\n" for request in requests))
    return path


def _manifests_in(folder: Path) -> list[Path]:
    return list((folder / "batches").glob("manifest-*.jsonl"))


def _run_with_debug_logs(emulator: Emulator, runs: list[Any], indexes: Path) -> str:
    here = Path(__file__).parent
    env = os.environ | {
        "AIRFLOW_CONN_QWENIMAGE_DEFAULT": uri(emulator.url, KEY),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "PYTHONASYNCIODEBUG": "1",
    }
    command = [sys.executable, str(here / "run_dags.py"), str(indexes), json.dumps(runs)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    # Airflow 3 itself, in dag.test() and with debug logs, logs the order to mask a secret with the secret in it.
    return "\n".join(line for line in output.splitlines() if " msg=MaskSecret(" not in line)


def _shapes_of(key: str) -> list[bytes]:
    """The key as it is, and in the encodings that would hide it from a plain search."""
    return [
        key.encode(),
        key.removeprefix("key_").encode(),
        base64.b64encode(key.encode()),
        key.encode().hex().encode(),
    ]


def _files(*folders: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file with its bytes; read by another process: closing a database's file drops SQLite's locks on it."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield path, subprocess.run(["cat", path], capture_output=True, check=False).stdout


def _bytes(row: tuple[Any, ...]) -> bytes:
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
