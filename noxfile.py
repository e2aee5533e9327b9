"""The whole matrix, for `make matrix` and for whoever likes nox: `nox --list`, `nox -t airflow-3.1.8`.

What is in it is decided in scripts/cells.py, which `make test` reads too. A Python that isn't here is skipped and said.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

from cells import CELLS, E2E, FULL, LOWEST, PYTHONS, WITH_PAGE
from cells import smoke as smoke_tests
from envs import NEWEST, pinned
from wheel import BUILD, DIST, build, for_tests, lay_out, packages

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.envdir = str(BUILD / "nox")
nox.options.sessions = ["full", "lowest", "page"]
BESIDE = [
    nox.param(cell.python, cell.airflow, tags=[f"airflow-{cell.airflow}"]) for cell in CELLS if cell.airflow != LOWEST
]


def run_tests(session: nox.Session, airflow: str, tests: tuple[str, ...]) -> None:
    """Installs the wheel beside an Airflow, from the pins, and runs tests out of reach of the source tree."""
    wheel = next(DIST.glob("*.whl"), None) or build()
    session.install(*pinned(airflow, packages(wheel)), "--reinstall-package", "airflow-provider-qwenimage")
    session.chdir(lay_out(BUILD / "run" / f"nox-{airflow}-{session.python}"))
    session.run("python", "-m", "pytest", *tests, *session.posargs, env=for_tests(wheel))


@nox.session
@nox.parametrize("python,airflow", BESIDE)
def full(session: nox.Session, airflow: str) -> None:
    """All tests that need no running scheduler."""
    run_tests(session, airflow, FULL)


@nox.session
@nox.parametrize("python,airflow", [(cell.python, cell.airflow) for cell in CELLS if cell.airflow != LOWEST])
def smoke(session: nox.Session, airflow: str) -> None:
    """What CI runs on the Airflows between the oldest and the newest."""
    run_tests(session, airflow, smoke_tests(airflow))


@nox.session(python=PYTHONS[NEWEST])
def running(session: nox.Session) -> None:
    """The tests that start a whole Airflow, which are for the newest only."""
    run_tests(session, NEWEST, E2E)


@nox.session
@nox.parametrize("python,airflow", [nox.param("3.11", airflow, tags=[f"airflow-{airflow}"]) for airflow in WITH_PAGE])
def page(session: nox.Session, airflow: str) -> None:
    """The images page in a browser, on the Airflows between that have it; CI sees it on the newest."""
    run_tests(session, airflow, (*E2E, "tests/ui/test_ui_browser.py"))


@nox.session(python=[cell.python for cell in CELLS if cell.airflow == LOWEST], tags=[f"airflow-{LOWEST}"])
def lowest(session: nox.Session) -> None:
    """All tests with every direct dependency as old as pyproject.toml allows."""
    run_tests(session, LOWEST, FULL)
