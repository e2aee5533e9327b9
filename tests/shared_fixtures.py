"""Fixtures that several folders of tests share: a real Airflow, services of the emulator, object stores."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_qwenimage.emulator import Emulator

# Imported where they are used: they load Airflow, which many tests do without.
if TYPE_CHECKING:
    from airflow_runs import AirflowHere
    from dags_made_here import Bench
    from storage_servers import Bucket, FaultyProxy


@pytest.fixture(scope="session")
def airflow(airflow_db: Path) -> AirflowHere:
    """Airflow with the example DAGs and those of ``tests/airflow/dags`` in its folder."""
    from airflow_runs import EXAMPLES, AirflowHere

    here = AirflowHere(airflow_db)
    here.add(*EXAMPLES.glob("*.py"), *(Path(__file__).parent / "airflow" / "dags").glob("*.py"))
    return here


@pytest.fixture(scope="session")
def bench(airflow_db: Path) -> Bench:
    """An Airflow that runs the DAGs that tests build themselves."""
    from dags_made_here import Bench

    return Bench(airflow_db)


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
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less: ``dag.test()`` has no scheduler whose races must be avoided, and the emulator is not busy."""
    monkeypatch.setattr("airflow_provider_qwenimage.waits.SHORTEST_DEFERRAL", 0.25)
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.Waiting._next_poll", lambda self, age, _: age + 0.2)
    monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in an object store: nothing can be appended or renamed there, and there are no folders."""
    from fsspec.implementations.memory import MemoryFileSystem

    from airflow_provider_qwenimage import _compat

    attach = _compat._first("attach", "airflow.sdk.io", "airflow.io.store")
    cache = _compat._first("_STORE_CACHE", "airflow.sdk.io.store", "airflow.io.store")
    attach("memory", fs=MemoryFileSystem())
    yield "memory://bucket/images"
    cache.pop("memory", None)
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture
def proxy() -> FaultyProxy:
    """What stands between us and S3, and can break."""
    from storage_servers import the_proxy

    found = the_proxy()
    found.breaks = found.broken = found.puts = 0
    return found


@pytest.fixture
def bucket(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, an Airflow connection to it, and the environment that counts where no connection is named."""
    from storage_servers import Bucket

    found = Bucket(proxy.server)
    found.make()
    connection = {
        "conn_type": "aws",
        "login": "testing",
        "password": "testing",
        "extra": {"endpoint_url": proxy.url, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_PICTURES", json.dumps(connection))
    environment = {
        "AWS_ENDPOINT_URL": proxy.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return found
