"""`make up`: a whole Airflow with its web interface, the example DAGs and the connection, for clicking around."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import time
from urllib.request import ProxyHandler, build_opener

from envs import ROOT, install_dev
from local_airflow import AIRFLOW, Service, alone, migrate, service, settings
from processes import Child, Failure, run, script, signal_group, started, tail

WORK = ROOT / "build" / "up"
HOME = WORK / "airflow"
PATIENCE = 180
DIRECT = build_opener(ProxyHandler({}))
HEALTHY_PARTS = {"metadatabase", "scheduler", "triggerer", "dag_processor"}


def free_port() -> int:
    """8080 if nothing listens there, else any free one."""
    for wanted in (8080, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", wanted))
            return int(probe.getsockname()[1])
    raise Failure("There is no free port on 127.0.0.1.")


def with_interface(port: int) -> dict[str, str]:
    """The settings that the interface adds: found on this machine only, and no login there."""
    address = f"http://127.0.0.1:{port}"
    return settings(HOME) | {
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        # One of the examples has a schedule: with a real key it must not start to buy by itself.
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
    }


def save_connection(where: Service, env: dict[str, str]) -> None:
    """Puts the connection into the database: one from the environment would not show in the interface."""
    file = WORK / "connection.json"
    with contextlib.ExitStack() as stack:
        stack.callback(file.unlink, missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump({"qwenimage_default": where.connection()}, out)
        log = WORK / "connection.log"
        if run([AIRFLOW, "connections", "import", "--overwrite", file], log, cwd=WORK, env=env) != 0:
            raise Failure(f"Airflow did not take the connection. {log} ends:\n{tail(log)}")


def start(port: int, env: dict[str, str], stack: contextlib.ExitStack) -> dict[str, Child]:
    """Starts the four processes that make an Airflow."""
    commands: dict[str, list[object]] = {
        "api-server": ["api-server", "--host", "127.0.0.1", "--port", port, "--workers", "1"],
        # Logs are read from this disk; served, they would be open to the network.
        "scheduler": ["scheduler", "--skip-serve-logs"],
        "triggerer": ["triggerer", "--skip-serve-logs"],
        "dag-processor": ["dag-processor"],
    }
    children = {
        name: stack.enter_context(started([AIRFLOW, *arguments], WORK / f"{name}.log", cwd=WORK, env=env))
        for name, arguments in commands.items()
    }
    stack.callback(end_together, children)
    return children


def end_together(children: dict[str, Child]) -> None:
    """Asks all at once; one after the other they would take four times as long."""
    print("\nStopping Airflow", flush=True)
    for child in children.values():
        signal_group(child, signal.SIGINT)


def ensure_alive(children: dict[str, Child]) -> None:
    for name, child in children.items():
        if child.poll() is not None:
            log = WORK / f"{name}.log"
            raise Failure(f"Airflow's {name} has ended by itself. {log} ends:\n{tail(log)}")


def is_healthy(port: int) -> bool:
    with contextlib.suppress(OSError, ValueError):
        with DIRECT.open(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5) as answer:
            parts = json.load(answer)
        return all(parts.get(name, {}).get("status") == "healthy" for name in HEALTHY_PARTS)
    return False


def wait_until_healthy(port: int, children: dict[str, Child]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_healthy(port):
        ensure_alive(children)
        if time.monotonic() > deadline:
            raise Failure(f"Airflow did not become healthy within {PATIENCE} seconds; its logs are in {WORK}.")
        time.sleep(0.5)


def main(arguments: list[str]) -> int:
    install_dev(tools=False)
    with alone(WORK), service(WORK) as where, contextlib.ExitStack() as stack:
        port = free_port()
        env = with_interface(port)
        migrate(HOME, env)
        save_connection(where, env)
        print("Starting Airflow (half a minute)", flush=True)
        children = start(port, env, stack)
        wait_until_healthy(port, children)
        print(f"\nAirflow is up: http://127.0.0.1:{port}  (no login; logs in {WORK}; Ctrl-C ends it)", flush=True)
        while True:
            ensure_alive(children)
            time.sleep(1)


if __name__ == "__main__":
    script(main)
