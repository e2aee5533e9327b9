"""The fixtures for other people's tests, as other people use them: in a pytest of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from airflow_provider_qwenimage.emulator import Emulator

CONFTEST = 'pytest_plugins = ["airflow_provider_qwenimage.emulator.pytest_plugin"]\n'
CREATE = """
import json, os
import requests

def create(conn_id="QWENIMAGE_DEFAULT"):
    there = json.loads(os.environ["AIRFLOW_CONN_" + conn_id])
    body = {"prompt": "a kite", "model_id": "0-24",
            "options": {"prompt_optimization": True, "num_outputs": 1, "aspect_ratio": "16:9"}}
    headers = {"Api-Key": there["password"], "Content-Type": "application/json"}
    return requests.post(there["host"] + "/api/task/create", json=body, headers=headers, timeout=10).json()
"""


@pytest.fixture
def run_tests(tmp_path: Path) -> Callable[..., str]:
    """Run somebody's tests; returns pytest's output, whose last line tells how many passed."""

    def run(tests: str, conftest: str = CONFTEST, **environment: str) -> str:
        (tmp_path / "conftest.py").write_text(conftest)
        (tmp_path / "test_mine.py").write_text(CREATE + tests)
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "error:::airflow_provider_qwenimage",
            ".",
        ]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout + done.stderr

    return run


def test_two_lines_give_a_service_and_a_connection(run_tests: Callable[..., str]) -> None:
    output = run_tests("""
def test_buys_one(qwenimage_connection):
    assert create()["code"] == 1
    assert qwenimage_connection.report()["bought"] == 1

def test_knows_nothing_of_the_test_before(qwenimage_connection):
    assert qwenimage_connection.report()["bought"] == 0

def test_leaves_nothing_behind():
    assert "AIRFLOW_CONN_QWENIMAGE_DEFAULT" not in os.environ
""")
    assert "3 passed" in output, output


def test_faults_credits_and_keys_can_be_chosen(run_tests: Callable[..., str]) -> None:
    output = run_tests("""
def test_fault(qwenimage_connection):
    qwenimage_connection.plan("create", "refuse", message="Server busy")
    assert create() == {"code": 0, "message": "Server busy"}

def test_credits(qwenimage_connection):
    qwenimage_connection.set_credits(0)
    assert create()["message"] == "Credits not enough"

def test_options_of_one_test(qwenimage_start, qwenimage_connect):
    qwenimage_connect(qwenimage_start(price=300, credits=299))
    assert create()["message"] == "Credits not enough"

def test_other_connection(qwenimage_emulator, qwenimage_connect):
    qwenimage_connect(qwenimage_emulator, "other", api_key="key_wrong")
    assert create("OTHER")["message"] == "Invalid API KEY"
""")
    assert "4 passed" in output, output


def test_options_of_a_session(run_tests: Callable[..., str]) -> None:
    mine = 'import pytest\n@pytest.fixture(scope="session")\ndef qwenimage_options():\n    return {"credits": 7}\n'
    output = run_tests(
        """
def test_credits(qwenimage_connection):
    assert qwenimage_connection.state.options.credits == 7
""",
        CONFTEST + mine,
    )
    assert "1 passed" in output, output


def test_a_proxy_is_left_aside(run_tests: Callable[..., str]) -> None:
    tests = "def test_buys(qwenimage_connection):\n    assert create()['code'] == 1\n"
    without = {"NO_PROXY": "example.com", "no_proxy": "example.com"}
    output = run_tests(tests, http_proxy="http://127.0.0.1:1", HTTP_PROXY="http://127.0.0.1:1", **without)
    assert "1 passed" in output, output


def test_without_the_extra_the_error_says_what_to_install(run_tests: Callable[..., str]) -> None:
    # As if starlette was not installed.
    hide = "import sys\nsys.modules['starlette'] = None\nsys.modules['starlette.applications'] = None\n"
    output = run_tests("def test_mine(qwenimage_connection):\n    pass\n", hide + CONFTEST)
    assert re.search(r"ImportError: The emulator needs .*pip install 'airflow-provider-qwenimage\[emulator\]'", output)


def test_two_emulators_of_one_test_are_two(qwenimage_start: Callable[..., Emulator]) -> None:
    first, second = qwenimage_start(), qwenimage_start()
    assert first.url != second.url


def test_a_delayed_request_has_no_effect_after_a_reset(
    qwenimage_emulator: Emulator, qwenimage_connect: Callable[..., str]
) -> None:
    qwenimage_connect(qwenimage_emulator)
    qwenimage_emulator.plan("create", "delay", seconds=0.5, when="before")
    namespace: dict[str, Callable[[], object]] = {}
    exec(CREATE, namespace)
    ends: list[type[BaseException]] = []

    def create() -> None:
        try:
            namespace["create"]()
        except requests.ConnectionError as error:
            ends.append(type(error))

    buyer = threading.Thread(target=create)
    buyer.start()
    while not qwenimage_emulator.requests():
        buyer.join(0.01)
    qwenimage_emulator.reset()
    buyer.join()
    assert ends
    assert qwenimage_emulator.report()["bought"] == 0


@pytest.mark.parametrize("seed", [7, None])
def test_a_seed_gives_the_same_ids_after_a_reset(seed: int | None, qwenimage_start: Callable[..., Emulator]) -> None:
    emulator = qwenimage_start(seed=seed)
    namespace: dict[str, Callable[..., dict[str, dict[str, str]]]] = {}
    exec(CREATE, namespace)

    def first_id() -> str:
        emulator.reset()
        with pytest.MonkeyPatch.context() as patch:
            there = f'{{"host": "{emulator.url}", "password": "{emulator.api_key}"}}'
            patch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", there)
            return namespace["create"]()["data"]["task_id"]

    assert (first_id() == first_id()) is (seed is not None)
