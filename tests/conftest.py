"""What all tests share: an Airflow home of their own, an emulator of the service, and no network but loopback."""

from __future__ import annotations

import atexit
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
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

from airflow_provider_qwenimage.emulator import Emulator  # noqa: E402


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


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """A service of one's own, quick: 0.2 s a generation, small pictures."""
    with Emulator(estimated_time=1, duration=0.2, credits=1000, image_size=96, seed=0) as running:
        yield running


@pytest.fixture
def connection(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The default Airflow connection, to the emulator."""
    monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", connection_json(emulator))
    return emulator


def connection_json(emulator: Emulator) -> str:
    """The emulator as an Airflow connection in JSON."""
    return json.dumps({"conn_type": "qwenimage", "host": emulator.url, "password": emulator.api_key})


@pytest.fixture(scope="session")
def airflow_db() -> Path:
    """Airflow's metadata database, made once; returns AIRFLOW_HOME."""
    if not (AIRFLOW_HOME / "airflow.db").exists():
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    return AIRFLOW_HOME
