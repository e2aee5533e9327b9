"""An Airflow of this repository's own, for `make demo` and `make up`: its settings, its database, its service."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from envs import DEV, NEWEST, ROOT, clean_environment, without_key
from processes import Child, Failure, run, started, tail

AIRFLOW = DEV / "bin" / "airflow"
EXAMPLES = ROOT / "example_dags"
EMULATOR_PATIENCE = 30


@dataclass(frozen=True)
class Service:
    """Where images come from: the address and the key that the connection gets."""

    url: str
    key: str

    def connection(self) -> dict[str, object]:
        # With a port: the UI's Test button of Airflow 3.3.2 refuses a connection that has none.
        scheme, _, authority = self.url.rstrip("/").partition("://")
        host, _, port = authority.partition(":")
        default = 443 if scheme == "https" else 80
        return {
            "conn_type": "qwenimage",
            "host": f"{scheme}://{host}",
            "port": int(port or default),
            "password": self.key,
        }


@contextlib.contextmanager
def alone(work: Path) -> Iterator[None]:
    """Holds a work folder: two Airflows at once would share one database."""
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure(f"The same command is running already in {work}: end it or wait for it.") from None
        yield


@contextlib.contextmanager
def service(work: Path) -> Iterator[Service]:
    """The real service if PIXWITH_API_KEY is set, else an emulator that lives as long as this context."""
    key = os.environ.get("PIXWITH_API_KEY", "").strip()
    if key:
        print("Using the real service with the key in PIXWITH_API_KEY: every image costs credits.", flush=True)
        yield Service("https://api.pixwith.ai", key)
        return
    print("Using an emulator of the service: no key, no credits (set PIXWITH_API_KEY for the real one).", flush=True)
    log = work / "emulator.log"
    command = [DEV / "bin" / "python", "-m", "airflow_provider_qwenimage.emulator", "--port", "0"]
    with started(command, log, cwd=work, env=clean_environment()) as emulator:
        yield _ready(emulator, log)


def _ready(emulator: Child, log: Path) -> Service:
    """Waits for the line in which the emulator tells its address and key."""
    deadline = time.monotonic() + EMULATOR_PATIENCE
    while emulator.poll() is None and time.monotonic() < deadline:
        said = log.read_text(encoding="utf-8")
        url, key = re.search(r"http://[\w.:]+", said), re.search(r"key_\w+", said)
        if url and key and said.endswith("\n"):
            return Service(url[0], key[0])
        time.sleep(0.1)
    raise Failure(f"The emulator did not start. Its output, in {log}:\n{tail(log)}")


def settings(home: Path) -> dict[str, str]:
    """The environment of every Airflow process: SQLite in `home`, the example DAGs, nothing of the user's own."""
    airflow = {
        "AIRFLOW_HOME": os.fspath(home),
        "AIRFLOW__CORE__DAGS_FOLDER": os.fspath(EXAMPLES),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW_CONN_SQLITE_DEFAULT": json.dumps({"conn_type": "sqlite", "host": os.fspath(home / "examples.db")}),
        # SQLite and two cores: with the default of 32 tasks at once, the database locks and the scheduler dies.
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        # In a terminal's width, tracebacks would be cut into boxes.
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }
    return without_key() | airflow


def migrate(home: Path, env: dict[str, str]) -> None:
    """Makes or renews the metadata database, once per Airflow version."""
    done = home / f".migrated-{NEWEST}"
    if done.exists():
        return
    print("Making Airflow's database (only the first time)", flush=True)
    log = home.parent / "migrate.log"
    if run([AIRFLOW, "db", "migrate"], log, cwd=home.parent, env=env) != 0:
        raise Failure(
            f"Airflow could not make its database. `make clean` and try again; the end of {log}:\n{tail(log)}"
        )
    done.touch()


def as_json(service: Service) -> str:
    return json.dumps(service.connection())
