"""What all tests share: an Airflow home of their own, an emulator of the service, and no network but loopback."""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

# Before anything imports Airflow: it reads these once.
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="qwenimage-airflow-"))
atexit.register(shutil.rmtree, AIRFLOW_HOME, ignore_errors=True)
for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "PIXWITH_"))]:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(AIRFLOW_HOME / "dags"),
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__CORE__ALLOWED_DESERIALIZATION_CLASSES": "airflow.*",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
(AIRFLOW_HOME / "dags").mkdir()

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "example_dags"

# What users' tests get is what ours use.
pytest_plugins = ["airflow_provider_qwenimage.emulator.pytest_plugin", "shared_fixtures"]


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail whatever leaves this machine: a test that needs the network is a wrong test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and not _is_loopback(address[0]):
            raise OSError(f"tests must not connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(scope="session")
def airflow_db() -> Path:
    """Airflow's metadata database, made once; returns AIRFLOW_HOME."""
    done_before = AIRFLOW_HOME / "migrated"  # the database itself may be there, empty: any look into it makes it
    if not done_before.exists():
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        done_before.touch()
    return AIRFLOW_HOME
