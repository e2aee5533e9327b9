"""A whole Airflow that can be hurt: on SQLite or PostgreSQL, with the LocalExecutor or with Celery over Redis."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests
from running_airflow import KEY, RunningAirflow, free_ports

HERE = Path(__file__).parent
SINGLE = ("api-server", "scheduler", "dag-processor", "triggerer")
CLUSTER = ("api-server", "scheduler", "dag-processor", "triggerer-1", "triggerer-2", "worker-1", "worker-2")
IMAGE_SIZE = "160"
NOTICED_SOON = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
}


class HurtAirflow(RunningAirflow):
    """
    :param postgres: PostgreSQL, else SQLite.
    :param celery: Redis, two workers and two triggerers, else the LocalExecutor; needs PostgreSQL.
    :param hasty: whether what has died is noticed in seconds, with the risk that what is only slow is taken for dead.
    """

    def __init__(self, home: Path, *, postgres: bool = False, celery: bool = False, hasty: bool = False) -> None:
        super().__init__(home)
        self.hasty = hasty
        self.postgres = postgres or celery
        self.celery = celery
        self.parts = CLUSTER if celery else SINGLE
        self.data = Path(tempfile.mkdtemp(prefix="qwenimage-pg-"))
        self.database_port, self.redis_port, *self.log_ports = free_ports(6)
        self.log_port = self.log_ports[0]
        for file in (HERE / "dags").glob("*.py"):
            shutil.copy(file, home / "dags")

    def env(self) -> dict[str, str]:
        found = super().env() | {
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(self.log_port),
            # What a dead scheduler has left is looked for often; half a minute of silence makes a scheduler dead.
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        }
        if self.hasty:
            found |= NOTICED_SOON
        database = f"postgresql+psycopg2://airflow@127.0.0.1:{self.database_port}/airflow"
        if self.postgres:
            found |= {"AIRFLOW__CORE__PARALLELISM": "8", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}
        if self.celery:
            found |= {
                "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
                "AIRFLOW__CELERY__BROKER_URL": f"redis://127.0.0.1:{self.redis_port}/0",
                "AIRFLOW__CELERY__RESULT_BACKEND": database.replace("postgresql", "db+postgresql", 1),
                "AIRFLOW__CELERY__WORKER_CONCURRENCY": "3",
                "AIRFLOW__CELERY__OPERATION_TIMEOUT": "10",
            }
        return found

    def start(self, *emulator: str) -> None:
        """Start everything and wait until all is healthy."""
        if self.postgres:
            self._start_postgres()
        if self.celery:
            self.started["redis"] = self._run(
                "redis", "redis-server", "--port", str(self.redis_port), "--save", "", "--bind", "127.0.0.1"
            )
        self.cli("db", "migrate", timeout=180)
        port = str(self.ports["service"])
        service = ["-m", "airflow_provider_qwenimage.emulator", "--port", port, "--api-key", KEY, "--credits", "100000"]
        self._spawn("service", *service, "--image-size", IMAGE_SIZE, *emulator)
        for part in self.parts:
            self.start_part(part)
        self.wait_for("the service to be ready", lambda: "ready at" in self.output_of("service"), 60)
        self.wait_for("all parts to be healthy", self._healthy, 240)
        token = self.http.get(f"{self.url}/auth/token", timeout=30).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def start_part(self, part: str) -> None:
        """Start a part, again if it had ended: what a process supervisor does in production."""
        kind, _, number = part.partition("-") if part[-1].isdigit() else (part, "", "1")
        arguments = [kind]
        if kind == "worker":
            quiet = ("--skip-serve-logs", "--without-mingle", "--without-gossip")
            arguments = ["celery", "worker", "--celery-hostname", f"{part}@here", *quiet]
        self.log_port = self.log_ports[int(number) - 1]
        self._spawn(part, "-m", "airflow", *arguments)

    def kill(self, part: str) -> None:
        """SIGKILL a part and all that it has started."""
        process = self.started[part]
        family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)

    def revive(self) -> list[str]:
        """Start again what has ended; return its names."""
        ended = [part for part in self.parts if self.started[part].poll() is not None]
        for part in ended:
            self.start_part(part)
        return ended

    def stop(self) -> None:
        # Workers would wait for their tasks, and the rest is thrown away as well.
        for part in self.parts:
            if part in self.started and self.started[part].poll() is None:
                self.kill(part)
        try:
            super().stop()
        finally:
            if self.postgres:
                with suppress(subprocess.SubprocessError):
                    self._postgres("pg_ctl", "-D", str(self.data), "-m", "immediate", "stop")
            shutil.rmtree(self.data, ignore_errors=True)

    def restart_the_database(self) -> None:
        self._postgres("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "-l", str(self.data / "log"), "restart")

    def _start_postgres(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self.data, "postgres", "postgres")
        self._postgres("initdb", "-D", str(self.data), "-U", "airflow", "-A", "trust", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"port={self.database_port}\nlisten_addresses='127.0.0.1'\nmax_connections=200\n")
            conf.write(f"unix_socket_directories='{self.data}'\nfsync=off\n")
        self._postgres("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.data / "log"), "start")
        self._postgres("createdb", "-h", "127.0.0.1", "-p", str(self.database_port), "-U", "airflow", "airflow")

    def _postgres(self, command: str, *arguments: str) -> None:
        """Run a command of PostgreSQL, which refuses to be run by root; a server keeps its output, so it is a file."""
        folder = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        with (self.output / f"{command}.log").open("ab") as log:
            subprocess.run(
                [*user, str(folder / command), *arguments],
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=True,
            )

    def _run(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.output / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command,
                cwd=self.home,
                env=self.env(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    # The service

    def control(self, path: str, body: Any = None, method: str = "POST") -> Any:
        answer = self.http.request(method, f"{self.service}/_emulator/{path}", json=body, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def plan(self, *faults: dict[str, Any]) -> None:
        self.control("faults", list(faults))

    def clear_faults(self) -> None:
        self.control("faults", method="DELETE")

    def image_of(self, generation_id: str) -> bytes:
        """The bytes of the first image, as the service has them."""
        headers = {"Api-Key": KEY, "Content-Type": "application/json"}
        asked = requests.post(
            f"{self.service}/api/task/get", json={"task_id": generation_id}, headers=headers, timeout=30
        )
        return requests.get(asked.json()["data"]["result_urls"][0], timeout=30).content

    # Runs

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self.api(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=100, offset=len(found))
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def states(self, dag_id: str, run_id: str) -> Counter[str]:
        return Counter(str(ti["state"]) for ti in self.tasks(dag_id, run_id))

    def wait_until(self, what: str, happened: Callable[[], Any], seconds: float) -> Any:
        """As wait_for, but parts that end are started again, and an API server that is busy is asked again."""
        deadline = time.monotonic() + seconds
        while True:
            self.revive()
            with suppress(requests.RequestException, AssertionError):
                if found := happened():
                    return found
            assert time.monotonic() < deadline, f"Waited {seconds} s in vain for {what}\n{self.tails()}"
            time.sleep(0.2)

    def wait_for_the_run(self, dag_id: str, run_id: str, seconds: float = 240) -> None:
        ended = ("success", "failed")
        self.wait_until(
            "the run to end", lambda: self.api(f"dags/{dag_id}/dagRuns/{run_id}")["state"] in ended, seconds
        )
