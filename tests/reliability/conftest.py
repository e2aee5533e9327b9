"""Short waits, and the places where tries leave word for each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from reliability_tries import HAS_STORE, without_the_store_of_airflow

PLACES = ["airflow", "file", "object store"] if HAS_STORE else ["file", "object store"]


@pytest.fixture
def quick(short_waits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less, and poll more often."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.SHORTEST_INTERVAL", 0.05)
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.Waiting._next_poll", lambda self, age, _: age + 0.05)


@pytest.fixture(params=PLACES)
def output_path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where images go; tries leave word in Airflow's own store, in a file beside them, or in an object store."""
    if request.param != "airflow":
        without_the_store_of_airflow(monkeypatch)
    return str(request.getfixturevalue("memory") if request.param == "object store" else tmp_path)
