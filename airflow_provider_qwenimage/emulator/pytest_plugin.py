"""
Fixtures for the tests of your own DAGs: a running emulator of the service, and Airflow connections to it.

One line in your top ``conftest.py``, and one more argument of a test::

    pytest_plugins = ["airflow_provider_qwenimage.emulator.pytest_plugin"]

    def test_my_dag(qwenimage_connection):
        assert my_dag.test().state == "success"
        assert qwenimage_connection.report()["bought"] == 1

No key, no network, no credits. What a test wants to go wrong, it plans:
``qwenimage_connection.plan("create", "http_error", status=503)``.

Needs the extra ``[emulator]`` and pytest; it is loaded only where it is named, not in every pytest run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow_provider_qwenimage.emulator import Emulator

__all__ = [
    "qwenimage_connect",
    "qwenimage_connection",
    "qwenimage_emulator",
    "qwenimage_options",
    "qwenimage_start",
]

DEFAULT_CONN_ID = "qwenimage_default"


class _Pool:
    """Running emulators, kept for later tests: to start and to stop one takes longer than most tests."""

    def __init__(self) -> None:
        self._free: dict[str, list[Emulator]] = {}
        self._stack = ExitStack()

    def take(self, options: dict[str, Any]) -> Emulator:
        from airflow_provider_qwenimage.emulator import Emulator

        free = self._free.setdefault(repr(sorted(options.items())), [])
        if not free:
            return self._stack.enter_context(Emulator(**options))
        emulator = free.pop()
        emulator.reset()
        return emulator

    def give_back(self, options: dict[str, Any], emulator: Emulator) -> None:
        self._free[repr(sorted(options.items()))].append(emulator)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def _qwenimage_pool() -> Iterator[_Pool]:
    pool = _Pool()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def qwenimage_options() -> dict[str, Any]:
    """
    How the emulators of this test session behave; define a fixture of this name to choose it yourself.

    :return: fields of ``emulator.options.Options``. By default 1,000 credits, images of 96 pixels, and generations
        that take 0.2 s
    """
    return {"estimated_time": 1, "duration": 0.2, "credits": 1000, "image_size": 96, "seed": 0}


@pytest.fixture
def qwenimage_start(_qwenimage_pool: _Pool, qwenimage_options: dict[str, Any]) -> Iterator[Callable[..., Emulator]]:
    """
    Start emulators with options of this test: ``qwenimage_start(credits=1)``.

    :return: a function that takes what differs from ``qwenimage_options`` and returns a running ``Emulator``, in which
        nothing has happened yet
    """
    taken: list[tuple[dict[str, Any], Emulator]] = []

    def start(**options: Any) -> Emulator:
        merged = {**qwenimage_options, **options}
        emulator = _qwenimage_pool.take(merged)
        taken.append((merged, emulator))
        return emulator

    yield start
    for options, emulator in taken:
        _qwenimage_pool.give_back(options, emulator)


@pytest.fixture
def qwenimage_emulator(qwenimage_start: Callable[..., Emulator]) -> Emulator:
    """
    A running emulator in which nothing has happened yet.

    :return: an ``Emulator``: ``url`` and ``api_key``; ``plan(endpoint, kind, ...)`` a fault; ``set_credits(n)``;
        ``report()`` the books (``bought``, ``credits_spent``, requests, violations of the contract)
    """
    return qwenimage_start()


@pytest.fixture
def qwenimage_connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """
    Make Airflow connections to emulators, for the time of a test.

    :return: a function ``(emulator, conn_id="qwenimage_default", *, api_key=None)`` that sets ``AIRFLOW_CONN_...`` in
        the environment, so that processes that the test starts know it too, and returns the connection as JSON
    """

    def connect(emulator: Emulator, conn_id: str = DEFAULT_CONN_ID, *, api_key: str | None = None) -> str:
        for name in ("NO_PROXY", "no_proxy"):  # whatever proxy the environment names does not reach this machine
            monkeypatch.setenv(name, ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"])))
        key = emulator.api_key if api_key is None else api_key
        connection = json.dumps({"conn_type": "qwenimage", "host": emulator.url, "password": key})
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", connection)
        return connection

    return connect


@pytest.fixture
def qwenimage_connection(qwenimage_emulator: Emulator, qwenimage_connect: Callable[..., str]) -> Emulator:
    """
    The connection ``qwenimage_default``, to an emulator.

    :return: that emulator, as ``qwenimage_emulator`` has it
    """
    qwenimage_connect(qwenimage_emulator)
    return qwenimage_emulator
