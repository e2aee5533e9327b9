"""A whole Airflow as a user runs it: four processes on SQLite, a login page, and the emulator as the service."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

HERE = Path(__file__).parent
PASSWORDS = {"ann": "ann-reads-all-but-the-vault", "admin": "admin-may-do-all"}
PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")


@dataclass
class Live:
    """A running Airflow."""

    url: str
    home: Path
    env: dict[str, str]

    def api(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """Call the REST API, as the administrator."""
        headers = {"Content-Type": "application/json"}
        if path != "/auth/token":
            headers["Authorization"] = f"Bearer {token or self.token('admin')}"
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.url}{path}", data, headers, method=method), timeout=30) as answer:
            return json.load(answer)

    def token(self, name: str) -> str:
        login = {"username": name, "password": PASSWORDS[name]}
        return str(self.api("POST", "/auth/token", login)["access_token"])

    def run(self, dag_id: str, patience: float = 240) -> str:
        """Run a DAG to its success; returns the run's id."""
        deadline = time.monotonic() + patience
        until(lambda: self._knows(dag_id), deadline, f"{dag_id} did not come up")
        runs = f"/api/v2/dags/{dag_id}/dagRuns"
        run_id = str(self.api("POST", runs, {"logical_date": None})["dag_run_id"])
        path = f"{runs}/{run_id.replace('+', '%2B').replace(':', '%3A')}"
        until(lambda: self.api("GET", path)["state"] in ("success", "failed"), deadline, f"{dag_id} did not end")
        assert self.api("GET", path)["state"] == "success"
        return run_id

    def _knows(self, dag_id: str) -> bool:
        broken = self.api("GET", "/api/v2/importErrors")["import_errors"]
        assert not broken, broken[0]["stack_trace"]
        return dag_id in {dag["dag_id"] for dag in self.api("GET", "/api/v2/dags")["dags"]}


def until(done: Any, deadline: float, what: str) -> None:
    while True:
        with contextlib.suppress(OSError):
            if done():
                return
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(home: Path, port: int, prefix: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "QWENIMAGE_TEST"))}
    return clean | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",  # more on SQLite, and the database locks
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__CORE__AUTH_MANAGER": "ui_denying.DenyingAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ann:viewer,admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}{prefix}",
        "AIRFLOW__API_AUTH__JWT_SECRET": "x" * 64,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}{prefix}/execution/",
        "QWENIMAGE_TEST_DENIED": "ann:ui_vault",
        "QWENIMAGE_TEST_FOLDER": str(home / "images"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
        "NO_PROXY": "127.0.0.1,localhost",
    }


@contextlib.contextmanager
def live_airflow(home: Path, connection: str, prefix: str = "") -> Iterator[Live]:
    """Start Airflow and wait until all of it is healthy; it is gone at the end.

    :param connection: the default connection, in JSON.
    :param prefix: path below which it is served.
    """
    port = free_port()
    env = settings(home, port, prefix) | {"AIRFLOW_CONN_QWENIMAGE_DEFAULT": connection}
    (home / "passwords.json").write_text(json.dumps(PASSWORDS))
    commands = {
        "api-server": ["api-server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
        "scheduler": ["scheduler", "--skip-serve-logs"],
        "triggerer": ["triggerer", "--skip-serve-logs"],
        "dag-processor": ["dag-processor"],
    }
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], env=env, check=True, capture_output=True, cwd=home)
    with contextlib.ExitStack() as stack:
        for name, command in commands.items():
            stack.enter_context(_process([*airflow, *command], home / f"{name}.log", env, home))
        live = Live(f"http://127.0.0.1:{port}{prefix}", home, env)
        until(lambda: _healthy(live.url), time.monotonic() + 180, f"Airflow is not healthy; logs in {home}")
        yield live


def _healthy(url: str) -> bool:
    with urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:
        parts = json.load(answer)
    return all(parts[name]["status"] == "healthy" for name in PARTS)


@contextlib.contextmanager
def _process(command: list[str], log: Path, env: dict[str, str], cwd: Path) -> Iterator[None]:
    """A process with all that it starts."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd, start_new_session=True
        )
    try:
        yield
    finally:
        for number, patience in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(patience)
