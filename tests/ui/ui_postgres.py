"""An empty PostgreSQL server of one's own, from Debian's package."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from ui_live import free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def postgres() -> Iterator[str]:
    """Start a server on a free port and return the URL of its database; it is gone at the end."""
    data, port = Path(mkdtemp(prefix="qwenimage-pg-")), free_port()
    if os.geteuid() == 0:
        shutil.chown(data, "postgres", "postgres")
    try:
        _run(data, "initdb", "-D", str(data), "-U", "airflow", "-A", "trust", "--no-sync")
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={data} -c fsync=off"
        _run(data, "pg_ctl", "-D", str(data), "-w", "-l", str(data / "log"), "-o", settings, "start")
        try:
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
        finally:
            _run(data, "pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _run(data: Path, command: str, *arguments: str) -> None:
    """Run a command of PostgreSQL, which refuses to be run by root; a server keeps its output, so it goes nowhere."""
    user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    subprocess.run(
        [*user, str(PROGRAMS[-1] / command), *arguments],
        cwd=data,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
