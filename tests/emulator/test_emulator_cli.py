"""The command line, as a process of its own."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import requests

COMMAND = [sys.executable, "-m", "airflow_provider_qwenimage.emulator"]
READY = re.compile(r"Qwen Image emulator ready at (http://\S+) \(API key: (\S+)\)\n")


@pytest.fixture
def launch() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command; what still runs at the end of a test is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_ready_line_then_answers_then_a_clean_stop(launch, number):
    process = launch("--port", "0", "--api-key", "key_mine", "--credits", "7", "--http-errors")
    url, key = READY.fullmatch(process.stdout.readline()).groups()
    assert key == "key_mine"
    headers = {"Api-Key": key, "Content-Type": "application/json"}
    answer = requests.post(f"{url}/api/task/get_credits", headers=headers, timeout=10)
    assert answer.json() == {"code": 1, "data": {"credits": 7}}
    assert requests.post(f"{url}/api/task/get_credits", timeout=10).status_code == 401
    process.send_signal(number)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output, errors) == (0, "", "")


def test_faults_and_durations_from_the_command_line(launch):
    faults = [{"endpoint": "get_credits", "kind": "html"}, {"endpoint": "get", "kind": "html"}]
    more = {"endpoint": "create", "kind": "fail"}
    arguments = ["--duration", "2-5", "--faults", json.dumps(faults), "--faults", json.dumps(more)]
    process = launch("--port", "0", *arguments)
    url = READY.fullmatch(process.stdout.readline())[1]
    report = requests.get(f"{url}/_emulator/report", timeout=10).json()
    assert [fault["kind"] for fault in report["faults"]] == ["html", "html", "fail"]


def test_help(launch):
    process = launch("--help")
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (0, "")
    for option in (
        "--port",
        "--api-key",
        "--credits",
        "--estimated-time",
        "--spread",
        "--seed",
        "--faults",
        "missing_urls",
    ):
        assert option in output


def test_a_port_in_use_is_one_sentence(launch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = launch("--port", port)
        output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (1, "")
    assert errors == f"Cannot listen on 127.0.0.1 port {port}: Address already in use\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "'70000' is not a number from 0 to 65535"),
        (["--faults", "{"], "'{' is not JSON"),
        (["--faults", '{"endpoint": "get", "kind": "stuck"}'], "stuck is not possible on get, only on create"),
        (["--duration", "long"], "'long' is neither seconds nor a range of them"),
        (["--credits", "-1"], "credits must be 0 or more"),
    ],
)
def test_wrong_arguments_are_explained(launch, arguments, message):
    process = launch("--port", "0", *arguments)
    output, errors = process.communicate(timeout=10)
    assert (process.returncode, output) == (2, "")
    assert message in errors
    assert "Traceback" not in errors
