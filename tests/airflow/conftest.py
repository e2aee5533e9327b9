"""A real Airflow in this process, the DAG files of the tests, and an emulator that answers at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import EXAMPLES, AirflowHere

from airflow_provider_qwenimage.emulator import Emulator

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def airflow(airflow_db: Path) -> AirflowHere:
    """Airflow with the example DAGs and those of ``tests/airflow/dags`` in its folder."""
    here = AirflowHere(airflow_db)
    here.add(*EXAMPLES.glob("*.py"), *(HERE / "dags").glob("*.py"))
    return here


@pytest.fixture
def start(qwenimage_start: Callable[..., Emulator], qwenimage_connect: Callable[..., str]) -> Any:
    """Start a service of one's own and point the default connection to it: its generations are ready at once."""

    def start_one(**options: Any) -> Emulator:
        emulator = qwenimage_start(**{"duration": 0.0, **options})
        vars(emulator.state).pop("record", None)  # an earlier test that watched requests has put its own method here
        qwenimage_connect(emulator)
        return emulator

    return start_one


@pytest.fixture
def service(start: Callable[..., Emulator]) -> Emulator:
    """A service whose generations are ready at once."""
    return start()


@pytest.fixture
def soon_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits be deferred that are shorter than what a scheduler can bear; ``dag.test()`` has none."""
    monkeypatch.setattr("airflow_provider_qwenimage.waits.SHORTEST_DEFERRAL", 0.3)
