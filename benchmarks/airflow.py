"""The same images four ways in a running Airflow: ``python -m benchmarks.airflow --images 200``. Takes long.

SQLite, LocalExecutor, four tasks at a time. CPU is that of all of Airflow's processes, less what they take when idle; a
slot second is a second for which a task was running, not deferred.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import ROOT, lean_server, table

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from running_airflow import PARTS, RunningAirflow

WAYS = {
    "batch": "`QwenImageBatchGenerateOperator`",
    "generate": "`QwenImageGenerateOperator`, mapped, deferrable",
    "python": "`PythonOperator` with `requests`, mapped",
    "http": "`HttpOperator` + `HttpSensor`, mapped; saves no images",
}
IDLE = 20.0  # seconds for which the idle Airflow is watched


class Airflow(RunningAirflow):
    def __init__(self, home: Path, url: str, images: int) -> None:
        super().__init__(home)
        self.service, self.images = url, images

    def env(self) -> dict[str, str]:
        return super().env() | {
            "AIRFLOW_CONN_HTTP_DEFAULT": json.dumps({"conn_type": "http", "host": self.service}),
            "BENCHMARK_IMAGES": str(self.images),
            "BENCHMARK_SERVICE": self.service,
            "BENCHMARK_FOLDER": str(self.home / "images"),
        }

    def start(self) -> None:
        (self.home / "images").mkdir()
        shutil.copy(Path(__file__).parent / "dags" / "four_ways.py", self.home / "dags")
        self.cli("db", "migrate", timeout=300)
        for part in PARTS:
            self._spawn(part, "-m", "airflow", part)
        self.wait_for("all parts to be healthy", self._healthy, 300)
        token = self.http.get(f"{self.url}/auth/token", timeout=60).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"
        self.wait_for("the DAGs", lambda: self.api("dags")["total_entries"] == len(WAYS), 300)

    def cpu(self) -> float:
        """CPU seconds of all processes, with those that they have ended."""
        return sum(sum(process.cpu_times()[:4]) for process in self._tree())

    def _tree(self) -> Iterator[psutil.Process]:
        for started in self.started.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                parent = psutil.Process(started.pid)
                yield parent
                yield from parent.children(recursive=True)

    def look(self, run: str) -> tuple[int, str]:
        """How many tasks hold a slot now, and the state of a run; from the database, for the API costs CPU."""
        with contextlib.closing(sqlite3.connect(f"file:{self.home}/airflow.db?mode=ro", uri=True)) as database:
            (slots,) = database.execute("SELECT count(*) FROM task_instance WHERE state = 'running'").fetchone()
            (state,) = database.execute("SELECT state FROM dag_run WHERE run_id = ?", (run,)).fetchone()
            return slots, state


def measure(airflow: Airflow, way: str, idle: float) -> dict[str, Any]:
    """Run one way to its end."""
    cpu, start, slots, last = airflow.cpu(), time.monotonic(), 0.0, time.monotonic()
    run = airflow.trigger(way, {})
    while True:
        time.sleep(0.2)
        (taken, state), now = airflow.look(run), time.monotonic()
        slots, last = slots + taken * (now - last), now
        if state in ("success", "failed"):
            break
    wall = time.monotonic() - start
    if state == "failed":
        print(airflow.tails(), file=sys.stderr)
    return {"state": state, "wall": wall, "cpu": airflow.cpu() - cpu - idle * wall, "slots": slots}


def idle_share(airflow: Airflow) -> float:
    before = airflow.cpu()
    time.sleep(IDLE)
    return (airflow.cpu() - before) / IDLE


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--only", default=",".join(WAYS))
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="qwenimage-bench-") as home,
        lean_server(least=6, most=10) as url,
    ):
        airflow = Airflow(Path(home) / "airflow", url, given.images)
        try:
            airflow.start()
            idle = idle_share(airflow)
            found = {way: measure(airflow, way, idle) for way in given.only.split(",")}
        finally:
            airflow.stop()
    rows = [
        [
            WAYS[way],
            one["state"],
            f"{one['wall']:.0f}",
            f"{one['cpu'] / given.images:.3f}",
            f"{one['cpu'] / found['batch']['cpu']:.1f}" if "batch" in found else "",
            f"{one['slots'] / given.images:.2f}",
        ]
        for way, one in found.items()
    ]
    table(
        f"{given.images} images in a running Airflow, generations of 6 to 10 s",
        ["", "run", "wall, s", "CPU an image, s", "/ batch", "slot seconds an image"],
        rows,
        f"Idle, this Airflow takes {idle:.2f} CPU seconds a second, which is not counted. Aim: CPU of the batch ≤ 1/20 "
        "of the best mapped way; slot seconds of the deferrable generate ≤ 1/5 of PythonOperator's.",
    )


if __name__ == "__main__":
    main()
