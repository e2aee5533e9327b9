"""The wheel and where it is tested: out of reach of the source tree, so that a file that the wheel lacks is found."""

from __future__ import annotations

import shutil
from pathlib import Path

from envs import DEV, LOGS, ROOT, clean_environment, install, make, python_of
from processes import Failure, run, tail

BUILD = ROOT / "build"
DIST = BUILD / "dist"
# What the tests read beside themselves.
FOLDERS = ("tests", "benchmarks", "example_dags", "docs", "scripts", "constraints", ".github", ".devcontainer")
PAPERS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
FILES = (*PAPERS, "pyproject.toml", "Makefile", "compose.yaml", "noxfile.py")


def build(out: Path = DIST) -> Path:
    """Builds the sdist, and the wheel from it as an installer would; returns the wheel."""
    shutil.rmtree(out, ignore_errors=True)
    log = LOGS / "build.log"
    command = [DEV / "bin" / "python", "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    if run(command, log, cwd=ROOT, env=clean_environment()) != 0:
        raise Failure(f"The package could not be built:\n{tail(log)}")
    # What the package index would refuse is found before a release.
    check = [DEV / "bin" / "python", "-m", "twine", "check", "--strict", *sorted(out.iterdir())]
    if run(check, log, cwd=ROOT, env=clean_environment()) != 0:
        raise Failure(f"The package index would not take the archives:\n{tail(log)}")
    return next(out.glob("*.whl"))


def for_tests(wheel: Path) -> dict[str, str]:
    """What the tests are told of the archives: where they are, and which Python can build them again."""
    return {"QWENIMAGE_TEST_DIST": str(wheel.parent), "QWENIMAGE_TEST_BUILDER": str(python_of(DEV))}


def packages(wheel: Path) -> list[str]:
    """What is installed for the tests of a wheel, beside Airflow."""
    return [f"{wheel.relative_to(ROOT)}[emulator]", "--group", "test"]


def prepare(airflow: str, python: str, wheel: Path, *, compiled: bool) -> None:
    """Makes an environment with that Airflow, the wheel and the test tools."""
    env = BUILD / "envs" / airflow
    make(env, python)
    install(env, airflow, packages(wheel), compiled=compiled)
    uv = [DEV / "bin" / "uv", "pip"]
    again = [*uv, "install", "--offline", "--no-deps", "--reinstall", "--python", python_of(env), wheel]
    log = LOGS / f"wheel-{airflow}.log"
    for command in (again, [*uv, "check", "--python", python_of(env)]):
        if run(command, log, cwd=ROOT, env=clean_environment()) != 0:
            raise Failure(f"The wheel does not go with Airflow {airflow}:\n{tail(log)}")


def lay_out(target: Path) -> Path:
    """Copies what the tests read to a folder from where the source tree is out of reach."""
    shutil.rmtree(target, ignore_errors=True)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    for file in FILES:
        shutil.copy(ROOT / file, target)
    return target
