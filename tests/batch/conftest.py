"""An emulator that answers at once, batches without a scheduler, and the Airflow of ``tests/airflow``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
BESIDE = [HERE, HERE.parent / "airflow", HERE.parent / "generate", HERE.parent / "reliability"]
sys.path[:0] = [str(folder) for folder in BESIDE if str(folder) not in sys.path]


def _fixtures_of(folder: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"qwenimage_{folder}_fixtures", HERE.parent / folder / "conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_shared = _fixtures_of("airflow")
start, service = _shared.start, _shared.service

from batch_tries import Tries, shorten_waits  # noqa: E402
from dags_made_here import Bench  # noqa: E402


@pytest.fixture(scope="session")
def bench(airflow_db: Path) -> Bench:
    """An Airflow that runs the DAGs of the tests."""
    return Bench(airflow_db)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less: there is no scheduler whose races must be avoided, and the emulator is not busy."""
    shorten_waits(monkeypatch.setattr)


@pytest.fixture
def tries(service: Any, tmp_path: Path) -> Callable[..., Tries]:
    """A task instance of the batch operator, to be run try by try: ``tries(requests=..., ...)``."""
    return lambda **arguments: Tries({"output_path": str(tmp_path / "out"), **arguments})


@pytest.fixture
def memory() -> Iterator[str]:
    """A folder in an object store: nothing can be appended or renamed there."""
    from fsspec.implementations.memory import MemoryFileSystem

    from airflow_provider_qwenimage import _compat

    attach = _compat._first("attach", "airflow.sdk.io", "airflow.io.store")
    cache = _compat._first("_STORE_CACHE", "airflow.sdk.io.store", "airflow.io.store")
    attach("memory", fs=MemoryFileSystem())
    yield "memory://bucket/images"
    cache.pop("memory", None)
    MemoryFileSystem.store.clear()
