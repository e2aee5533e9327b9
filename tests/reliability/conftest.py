"""A real Airflow, the DAG bench of ``tests/generate``, and the places where tries leave word for each other."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
BESIDE = [HERE, HERE.parent / "airflow", HERE.parent / "generate", HERE.parent / "api"]
sys.path[:0] = [str(folder) for folder in BESIDE if str(folder) not in sys.path]


def _fixtures_of_tests_airflow() -> Any:
    spec = importlib.util.spec_from_file_location("qwenimage_airflow_fixtures", HERE.parent / "airflow" / "conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_shared = _fixtures_of_tests_airflow()
start, service = _shared.start, _shared.service

from dags_made_here import Bench  # noqa: E402
from reliability_tries import HAS_STORE, without_the_store_of_airflow  # noqa: E402

from airflow_provider_qwenimage import _compat  # noqa: E402


@pytest.fixture(scope="session")
def bench(airflow_db: Path) -> Bench:
    """An Airflow that runs the DAGs of the tests."""
    return Bench(airflow_db)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less: there is no scheduler whose races must be avoided, and the emulator is not busy."""
    monkeypatch.setattr("airflow_provider_qwenimage.waits.SHORTEST_DEFERRAL", 0.25)
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.SHORTEST_INTERVAL", 0.05)
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.Waiting._next_poll", lambda self, age, _: age + 0.05)
    monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)


PLACES = ["airflow", "file", "object store"] if HAS_STORE else ["file", "object store"]


@pytest.fixture(params=PLACES)
def output_path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where images go; tries leave word in Airflow's own store, in a file beside them, or in an object store."""
    if request.param != "airflow":
        without_the_store_of_airflow(monkeypatch)
    return str(request.getfixturevalue("memory") if request.param == "object store" else tmp_path)


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in an object store: nothing can be renamed there, and there are no folders."""
    from fsspec.implementations.memory import MemoryFileSystem

    attach = _compat._first("attach", "airflow.sdk.io", "airflow.io.store")
    cache = _compat._first("_STORE_CACHE", "airflow.sdk.io.store", "airflow.io.store")
    attach("memory", fs=MemoryFileSystem())
    yield "memory://bucket/images"
    cache.pop("memory", None)
    MemoryFileSystem.store.clear()
