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
    # The creates of the runs below, in their order; the many prompts are three.
    emulator.plan("create", "refuse", skip=3, message="Invalid API KEY")
    emulator.plan("create", "close_after", skip=4)
    runs: list[tuple[str, dict[str, Any], str]] = [
        ("qwenimage_many_prompts", {"output_path": f"file://{tmp_path}"}, "success"),
        ("creating_once", {}, "failed"),
        ("creating_once", {}, "failed"),
        ("creating_from_templates", {"prompt": "", "num_outputs": 9}, "failed"),
        ("waiting_30s", {"generation_id": failing}, "failed"),
        ("waiting_30s", {"generation_id": failing, "conn_id": "not_there"}, "failed"),
        ("saving", {"urls": gone, "output_path": str(tmp_path)}, "failed"),
    ]
    output = _run_with_debug_logs(emulator, [run[:2] for run in runs])
    assert [line.split(": ")[1] for line in output.splitlines() if line.startswith("RUN ")] == [run[2] for run in runs]

    # That the search would find something: these are where the key could be, and they are not empty.
    assert "Submitted generation" in output
    assert "running trigger in line" in output
    content = dict(tables(airflow.home / "airflow.db"))
    for table in ("xcom", "rendered_task_instance_fields", "task_instance", "dag_run"):
        assert content[table], table
    assert any(failing.encode() in _bytes(row) for row in content["rendered_task_instance_fields"])

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


def _run_with_debug_logs(emulator: Emulator, runs: list[Any]) -> str:
    here = Path(__file__).parent
    env = os.environ | {
        "AIRFLOW_CONN_QWENIMAGE_DEFAULT": uri(emulator.url, KEY),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "PYTHONASYNCIODEBUG": "1",
    }
    command = [sys.executable, str(here / "run_dags.py"), json.dumps(runs)]
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
