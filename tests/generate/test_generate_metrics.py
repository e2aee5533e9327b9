"""Metrics: the names that the documentation promises, on the wire of a StatsD client, without a single id."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_qwenimage.emulator import Emulator

pytest.importorskip("statsd", reason="the statsd package is not installed")

# In a process of its own: Airflow makes its metrics client once.
RUN = """
import os
from pathlib import Path
import airflow_provider_qwenimage.waits as waits
from dags_made_here import Bench
waits.SHORTEST_DEFERRAL = 0.25
bench = Bench(Path(os.environ["AIRFLOW_HOME"]))
for deferrable in (False, True):
    run = bench.generate(output_path=os.environ["OUT"], deferrable=deferrable)
    assert run.state == os.environ["STATE"], run.errors
"""

# A sensor that meets a failed poll, then the end of its time.
POKE = """
import os
from pathlib import Path
import airflow_provider_qwenimage.api.retrying as retrying
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from dags_made_here import Bench

retrying.Retries._wait = lambda self, state: 0.0
bought = QwenImageHook().create_task(GenerationRequest(prompt="a kite"))
sensor = {"task_id": "wait", "generation_id": bought.generation_id, "poll_interval": 0.1, "timeout": 0.15}
run = Bench(Path(os.environ["AIRFLOW_HOME"])).run_one(lambda: QwenImageTaskSensor(**sensor))
assert run.state == os.environ["STATE"], run.errors
"""


def metrics_of(state: str, folder: Path, code: str = RUN) -> list[str]:
    """Run a sync and a deferrable task, or other code, and return what was sent, line by line."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        listener.bind(("127.0.0.1", 0))
        environment = {
            **os.environ,
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(listener.getsockname()[1]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",  # shows the tags
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OUT": str(folder),
            "STATE": state,
        }
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        listener.setblocking(False)
        lines: list[str] = []
        try:
            while True:
                lines += listener.recv(65_536).decode().splitlines()
        except BlockingIOError:
            return [line for line in lines if "qwenimage." in line]


def totals(lines: list[str]) -> dict[str, float]:
    """Name -> sum of the counters, number of the timers."""
    found: dict[str, float] = {}
    for line in lines:
        name, value, kind = re.fullmatch(r"airflow\.([\w.]+)(?:,[^:]*)?:([-\d.]+)\|(\w+)", line).groups()
        found[name] = found.get(name, 0) + (float(value) if kind == "c" else 1)
    return found


def test_success_is_counted(airflow_db: Path, service: Emulator, tmp_path: Path):
    """Two generations: submitted, succeeded, timed, and every byte that was saved."""
    lines = metrics_of("success", tmp_path)
    saved = sum(path.stat().st_size for path in tmp_path.rglob("*.jpeg"))
    assert totals(lines) == {
        "qwenimage.submitted": 2,
        "qwenimage.succeeded": 2,
        "qwenimage.generation_seconds": 2,
        "qwenimage.bytes_saved": saved,
    }
    assert not re.search(r"[0-9a-f]{32}|made_here", " ".join(lines))


def test_failure_and_failed_polls_are_counted(airflow_db: Path, service: Emulator, tmp_path: Path):
    """A generation that fails counts once as failed, a poll that fails once as a poll error, in either mode."""
    service.state.plan(
        {"endpoint": "create", "kind": "fail", "times": 2},
        {"endpoint": "get", "kind": "http_error", "status": 503, "body": "text"},
        {"endpoint": "get", "kind": "http_error", "status": 503, "body": "text", "skip": 2},
    )
    lines = metrics_of("failed", tmp_path)
    assert totals(lines) == {"qwenimage.submitted": 2, "qwenimage.failed": 2, "qwenimage.poll_error": 2}
    assert not re.search(r"[0-9a-f]{32}|made_here", " ".join(lines))


def test_a_sensor_that_pokes_counts_too(airflow_db: Path, start: Callable[..., Emulator], tmp_path: Path):
    """A poll that fails once as a poll error, a wait that ends in vain once as failed; both as in the other modes."""
    service = start(duration=3600)
    service.plan("get", "http_error", status=503, body="text", times=4)  # the client's attempts of one poll
    lines = metrics_of("failed", tmp_path, POKE)
    assert totals(lines) == {"qwenimage.failed": 1, "qwenimage.poll_error": 1}
