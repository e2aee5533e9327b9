"""The bench of ``tests/generate``, and what is read of the pages."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FOLDERS = [str(HERE), *(str(HERE.parent / name) for name in ("generate", "airflow", "api"))]
sys.path[:0] = [folder for folder in FOLDERS if folder not in sys.path]


def _fixtures_of(part: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"qwenimage_{part}_for_docs", HERE.parent / part / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_generate, _airflow = _fixtures_of("generate"), _fixtures_of("airflow")
start, service, bench = _generate.start, _generate.service, _generate.bench
airflow = _airflow.airflow
