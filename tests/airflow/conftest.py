"""A real Airflow in this process, the DAG files of the tests, and an emulator that answers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import EXAMPLES, AirflowHere, uri

from airflow_provider_qwenimage.emulator import Emulator

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def airflow(airflow_db: Path) -> AirflowHere:
    """Airflow with the example DAGs and those of ``tests/airflow/dags`` in its folder."""
    here = AirflowHere(airflow_db)
    here.add(*EXAMPLES.glob("*.py"), *(HERE / "dags").glob("*.py"))
    return here


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Emulator]]:
    """Start a service of one's own and point the default connection to it: its generations are ready at once."""
    with ExitStack() as stack:

        def start_one(**options: Any) -> Emulator:
            settings = {"estimated_time": 1, "duration": 0.0, "credits": 1000, "image_size": 96, "seed": 0, **options}
            emulator = stack.enter_context(Emulator(**settings))
            monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", uri(emulator.url, emulator.api_key))
            return emulator

        yield start_one


@pytest.fixture
def service(start: Callable[..., Emulator]) -> Emulator:
    """A service whose generations are ready at once."""
    return start()


@pytest.fixture
def soon_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits be deferred that are shorter than what a scheduler can bear; ``dag.test()`` has none."""
    monkeypatch.setattr("airflow_provider_qwenimage.waits.SHORTEST_DEFERRAL", 0.3)
