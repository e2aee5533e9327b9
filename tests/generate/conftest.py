"""The Airflow of ``tests/airflow``, with DAGs that the tests build themselves."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [folder for folder in (str(HERE), str(HERE.parent / "airflow")) if folder not in sys.path]


def _fixtures_of_tests_airflow() -> Any:
    spec = importlib.util.spec_from_file_location("qwenimage_airflow_fixtures", HERE.parent / "airflow" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_shared = _fixtures_of_tests_airflow()
start, service = _shared.start, _shared.service

from dags_made_here import Bench  # noqa: E402


@pytest.fixture(scope="session")
def bench(airflow_db: Path) -> Bench:
    """An Airflow that runs the DAGs of the tests."""
    return Bench(airflow_db)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less: ``dag.test()`` has no scheduler whose races must be avoided, and the emulator is not busy."""
    monkeypatch.setattr("airflow_provider_qwenimage.waits.SHORTEST_DEFERRAL", 0.25)
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.Waiting._next_poll", lambda self, age, _: age + 0.2)
    monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)
