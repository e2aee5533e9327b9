"""The matrix: which Airflow is tested on which Python, and how. CI (`test.py`) and nox read it here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from envs import NEWEST

OLDEST = "2.11.2"
# Every direct dependency as old as pyproject.toml allows; the set has the name of the Airflow in it.
LOWEST = "2.11.0"
UP_TO_312 = ("3.10", "3.11", "3.12")
UP_TO_313 = (*UP_TO_312, "3.13")
PYTHONS = {
    NEWEST: UP_TO_313,
    "3.2.2": UP_TO_313,
    "3.1.8": UP_TO_313,
    "3.0.6": UP_TO_312,
    OLDEST: UP_TO_312,
    LOWEST: ("3.10",),
}
MIDDLE = [airflow for airflow in PYTHONS if airflow not in {NEWEST, OLDEST, LOWEST}]

FULL = ("-m", "not e2e and not slow")
# The same in two halves of about equal time, for two processes at once; a new folder of tests is in the second.
HALF = ("tests/airflow", "tests/generate", "tests/reliability")
HALVES = ((*FULL, *HALF), (*FULL, *(f"--ignore={folder}" for folder in HALF)))
E2E = ("-m", "e2e and not slow")
# What differs between versions: registration, connection form, every example, both ways of waiting, a retry, what is
# logged of errors, assets, the page.
SMOKE = (
    *FULL,
    "tests/packaging",
    "tests/airflow/test_airflow_form.py",
    "tests/airflow/test_airflow_hook.py",
    "tests/airflow/test_airflow_examples.py",
    "tests/airflow/test_airflow_the_key.py",
    "tests/generate/test_generate_assets.py",
    "tests/generate/test_generate_metrics.py",
    "tests/reliability/test_reliability_durable.py::test_a_retry_saves_what_is_completed",
    "tests/reliability/test_reliability_durable.py::test_a_retry_waits_on_for_what_is_running",
    "tests/reliability/test_reliability_rescue.py::test_a_completed_generation_is_rescued",
    "tests/ui/test_ui_plugin.py",
)
# The images page needs Airflow 3.1.
WITH_PAGE = ("3.2.2", "3.1.8")
SMOKE_WITH_PAGE = (*SMOKE, "tests/ui/test_ui_pages.py", "tests/ui/test_ui_access.py")


@dataclass(frozen=True)
class Cell:
    """One Airflow on one Python."""

    airflow: str
    python: str


CELLS = [Cell(airflow, python) for airflow, pythons in PYTHONS.items() for python in pythons]


def smoke(airflow: str) -> tuple[str, ...]:
    """The arguments of pytest for the tests that every Airflow gets in CI."""
    return SMOKE_WITH_PAGE if airflow in {NEWEST, *WITH_PAGE} else SMOKE


def find_python(airflow: str) -> str | None:
    """An interpreter that this Airflow supports: the one that runs this, else one on PATH, else one of pyenv's."""
    if "{}.{}".format(*sys.version_info) in PYTHONS[airflow]:
        return sys.executable
    found = (_runs(path) for version in reversed(PYTHONS[airflow]) for path in _candidates(version))
    return next(filter(None, found), None)


def _candidates(version: str) -> list[str | Path | None]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"))]


def _runs(path: str | Path | None) -> str | None:
    """The real path of an interpreter; None for a shim without the Python that it stands for."""
    if path is None:
        return None
    tell = [path, "-c", "import sys; print(sys.executable)"]
    run = subprocess.run(tell, capture_output=True, text=True, check=False)
    return run.stdout.strip() if run.returncode == 0 else None


def pyenv_versions() -> dict[str, str]:
    """The setting that lets pyenv's shims run every Python that it has; nothing where there is no pyenv."""
    if not shutil.which("pyenv"):
        return {}
    run = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
    have = [version for version in run.stdout.split() if ".".join(version.split(".")[:2]) in UP_TO_313]
    return {"PYENV_VERSION": ":".join(reversed(have))} if have else {}
