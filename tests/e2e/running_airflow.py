"""A whole Airflow and a service for it, each part a process of its own, on free ports and in a folder of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import requests

KEY = "key_c4a81f6e2d9b40739e5f7a1c3b6d8e02"
PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
TAIL = 40  # lines


class RunningAirflow:
    """
    :param home: an empty folder that becomes AIRFLOW_HOME; the processes' output goes to ``home/output``.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.output = home / "output"
        self.output.mkdir(parents=True)
        (home / "dags").mkdir()
        # What killed processes leave. Not below home: multiprocessing's sockets stand here, and their paths are short.
        self.temporary = tempfile.mkdtemp(prefix="qi-")
        self.ports = dict(zip(("api", "worker logs", "triggerer logs", "service"), free_ports(4), strict=True))
        self.url = f"http://127.0.0.1:{self.ports['api']}"
        self.service = f"http://127.0.0.1:{self.ports['service']}"
        self.started: dict[str, subprocess.Popen[bytes]] = {}
        self.http = requests.Session()
        self.http.trust_env = False

    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PIXWITH"))}
        connection = {"conn_type": "qwenimage", "host": self.service, "password": KEY}
        return kept | {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW_CONN_QWENIMAGE_DEFAULT": json.dumps(connection),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.ports["api"]),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of this test and long enough for sixty-four bytes of signature",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # SQLite and two cores: with the default of 32 tasks at once, the database locks and the scheduler dies.
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.ports["triggerer logs"]),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(self.ports["worker logs"]),
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
            "NO_COLOR": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "TMPDIR": self.temporary,
        }

    def start(self) -> None:
        """Start everything and wait until each part says that it is healthy."""
        self.cli("db", "migrate", timeout=120)
        port = str(self.ports["service"])
        emulator = ["-m", "airflow_provider_qwenimage.emulator", "--port", port, "--api-key", KEY]
        self._spawn("service", *emulator, "--estimated-time", "8", "--duration", "6-8", "--image-size", "160")
        for part in PARTS:
            self._spawn(part, "-m", "airflow", part)
        self.wait_for("the service to be ready", lambda: "ready at" in self.output_of("service"), 30)
        self.wait_for("all parts to be healthy", self._healthy, 120)
        token = self.http.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def stop(self) -> None:
        """End every process that was started, by its id, with those that they started themselves."""
        for process in self.started.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        self._wait_for_the_end(25)
        for process in self.alive():
            process.kill()
        self._wait_for_the_end(10)
        for process in self.started.values():
            process.wait(10)
        shutil.rmtree(self.temporary, ignore_errors=True)

    def alive(self) -> list[psutil.Process]:
        """The processes that carry this AIRFLOW_HOME in their environment."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def cli(self, *arguments: str, timeout: float = 60) -> str:
        """Run ``airflow`` to its end; return its output."""
        command = [sys.executable, "-m", "airflow", *arguments]
        done = subprocess.run(
            command, env=self.env(), cwd=self.home, capture_output=True, text=True, timeout=timeout, check=False
        )
        text = done.stdout + done.stderr
        (self.output / f"cli-{arguments[0]}.log").write_text(text)
        assert done.returncode == 0, text[-3000:]
        return text

    def api(self, path: str, **parameters: Any) -> Any:
        answer = self.http.get(f"{self.url}/api/v2/{path}", params=parameters, timeout=30)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Unpause a DAG and start a run of it; return the run's id."""
        path = f"{self.url}/api/v2/dags/{dag_id}"
        assert self.http.patch(path, json={"is_paused": False}, timeout=30).ok
        body = {"logical_date": None, "conf": conf}
        answer = self.http.post(f"{path}/dagRuns", json=body, timeout=30)
        assert answer.ok, answer.text[:500]
        return str(answer.json()["dag_run_id"])

    def control(self, path: str, body: dict[str, Any]) -> None:
        """Tell the service how to behave."""
        answer = self.http.post(f"{self.service}/_emulator/{path}", json=body, timeout=10)
        assert answer.ok, answer.text

    def report(self) -> dict[str, Any]:
        """What the service has counted."""
        found: dict[str, Any] = self.http.get(f"{self.service}/_emulator/report", timeout=10).json()
        return found

    def wait_for(self, what: str, happened: Callable[[], Any], seconds: float) -> Any:
        """Look again and again until something is true; fail with the ends of all logs when it is not in time."""
        deadline = time.monotonic() + seconds
        while not (found := happened()):
            ended = [name for name, process in self.started.items() if process.poll() is not None]
            assert not ended, f"Waiting for {what}: {', '.join(ended)} ended\n{self.tails()}"
            assert time.monotonic() < deadline, f"Waited {seconds} s in vain for {what}\n{self.tails()}"
            time.sleep(0.3)
        return found

    def output_of(self, name: str) -> str:
        return (self.output / f"{name}.log").read_text(errors="replace")

    def tails(self) -> str:
        """The ends of what all processes have said, and of the failed tasks' logs."""
        texts = {path.name: path for path in sorted(self.output.glob("*.log"))}
        for path in self.home.glob("logs/dag_id=*/**/*.log"):
            if re.search(r'"level": ?"(error|critical)"', path.read_text(errors="replace")):
                texts[str(path.relative_to(self.home))] = path
        ends = {name: path.read_text(errors="replace").splitlines()[-TAIL:] for name, path in texts.items()}
        return "\n".join(f"--- {name}\n" + "\n".join(lines) for name, lines in ends.items())

    def _spawn(self, name: str, *arguments: str) -> None:
        with (self.output / f"{name}.log").open("wb") as log:
            self.started[name] = subprocess.Popen(
                [sys.executable, *arguments],
                env=self.env(),
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C for pytest is none for them: stop() ends them
            )

    def _healthy(self) -> bool:
        try:
            answer = self.http.get(f"{self.url}/api/v2/monitor/health", timeout=10)
        except requests.RequestException:
            return False
        if not answer.ok:
            return False
        health = answer.json()
        return all(health[part]["status"] == "healthy" for part in ("scheduler", "triggerer", "dag_processor"))

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            ours = process.environ().get("AIRFLOW_HOME") == str(self.home)
            return ours and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def _wait_for_the_end(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.alive():
            for process in self.started.values():
                process.poll()
            time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
