"""The bench of ``tests/generate``, and an S3 of one's own: moto on loopback, through Airflow's Amazon provider."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FOLDERS = [str(HERE), str(HERE.parent / "generate"), str(HERE.parent / "airflow")]
sys.path[:0] = [folder for folder in FOLDERS if folder not in sys.path]


def _fixtures_of_tests_generate() -> Any:
    spec = importlib.util.spec_from_file_location("qwenimage_generate_fixtures", HERE.parent / "generate/conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_shared = _fixtures_of_tests_generate()
start, service, bench, quick = _shared.start, _shared.service, _shared.bench, _shared.quick

from storage_servers import Bucket, FaultyProxy, the_proxy  # noqa: E402


@pytest.fixture
def proxy() -> FaultyProxy:
    """What stands between us and S3, and can break."""
    found = the_proxy()
    found.breaks = found.broken = found.puts = 0
    return found


@pytest.fixture
def bucket(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket, an Airflow connection to it, and the environment that counts where no connection is named."""
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
