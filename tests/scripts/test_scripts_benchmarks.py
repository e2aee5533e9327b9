"""Each benchmark runs and prints its table, with a handful of waits and images: the figures are worth nothing so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = {
    "polling": ("--waits", "10"),
    "waits": ("--waits", "3", "--only", "bare,ours"),
    "saving": ("--sizes", "1x200000,3x1000"),
    "batch": ("--images", "3", "--active", "2", "--rounds", "1"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_runs(name: str):
    """Those that need no other provider and no running Airflow; `make bench` runs the others too."""
    if name == "saving" and not shutil.which("curl"):
        pytest.skip("it compares with curl")
    command = [sys.executable, "-m", f"benchmarks.{name}", *COMMANDS[name]]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    environment["BENCHMARK_ESTIMATE"] = "0.5"
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) > 2, done.stdout
