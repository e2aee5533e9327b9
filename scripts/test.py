"""`make test`: lint and types, then the built wheel is tested in a clean environment for each supported Airflow.

Nothing is tested from the source tree: the wheel is installed, and the tests run on a copy of their own in `build/run`,
so a file that is missing from the wheel is found here and not by a user.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from debian import install_debian_packages
from envs import DEV, LOGS, NEWEST, ROOT, clean_environment, install, install_dev, make, python_of, without_key
from lint import lint
from processes import Failure, run, script, started, tail

OLDEST = "2.11.2"
OLDEST_TAKES = (3, 12)
BUILD = ROOT / "build"
NO_TESTS = 5
# What the tests read beside themselves.
FOLDERS = ("tests", "example_dags", "docs")
FILES = ("README.md", "pyproject.toml", "Makefile")


@dataclass(frozen=True)
class Part:
    """One run of pytest: on which Airflow, and which tests (pytest's ``-m``)."""

    airflow: str
    marks: str

    @property
    def name(self) -> str:
        """The part in words."""
        return f"Airflow {self.airflow}, {'without' if 'not e2e' in self.marks else 'with'} a running scheduler"


# Most tests wait for something, so the two Airflows share the cores; a whole running Airflow wants them for itself.
TOGETHER = (Part(NEWEST, "not e2e and not slow"), Part(OLDEST, "not e2e and not slow"))
ALONE = Part(NEWEST, "e2e and not slow")


@dataclass(frozen=True)
class Outcome:
    """What pytest reported for one part."""

    ok: bool
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def build() -> Path:
    """Builds the sdist, and the wheel from it as an installer would; returns the wheel."""
    print("\nbuild", flush=True)
    shutil.rmtree(BUILD / "dist", ignore_errors=True)
    log = LOGS / "build.log"
    command = [DEV / "bin" / "python", "-m", "build", "--no-isolation", "--outdir", BUILD / "dist", ROOT]
    if run(command, log, cwd=ROOT, env=clean_environment()) != 0:
        raise Failure(f"The package could not be built:\n{tail(log)}")
    return next((BUILD / "dist").glob("*.whl"))


def python_for(airflow: str) -> str | None:
    """An interpreter that this Airflow supports: the one of `.venv`, else one on PATH."""
    if airflow != OLDEST or sys.version_info[:2] <= OLDEST_TAKES:
        return sys.executable
    for name in ("python3.12", "python3.11", "python3.10"):
        found = shutil.which(name)
        # A shim can be on PATH without the Python that it stands for.
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return None


def prepare(airflow: str, python: str, wheel: Path) -> None:
    """Makes an environment with that Airflow, the wheel and the test tools."""
    env = BUILD / "envs" / airflow
    make(env, python)
    install(env, airflow, [f"{wheel.relative_to(ROOT)}[emulator]", "--group", "test"])
    uv = [DEV / "bin" / "uv", "pip"]
    again = [*uv, "install", "--offline", "--no-deps", "--reinstall", "--python", python_of(env), wheel]
    log = LOGS / f"wheel-{airflow}.log"
    for command in (again, [*uv, "check", "--python", python_of(env)]):
        if run(command, log, cwd=ROOT, env=clean_environment()) != 0:
            raise Failure(f"The wheel does not go with Airflow {airflow}:\n{tail(log)}")


def lay_out(airflow: str) -> Path:
    """Copies what the tests read to a folder from where the source tree is out of reach."""
    target = BUILD / "run" / airflow
    shutil.rmtree(target, ignore_errors=True)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, target / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in FILES:
        shutil.copy(ROOT / file, target)
    return target


def run_parts(parts: Sequence[Part], wheel: Path, arguments: list[str]) -> dict[Part, Outcome]:
    """Runs parts at the same time: the first one shown, the others in a log that is shown where they fail."""
    began, codes, logs = time.monotonic(), {}, {}
    with ExitStack() as stack:
        children = {}
        for part in parts:
            where = BUILD / "run" / part.airflow
            logs[part] = None if part is parts[0] else LOGS / f"tests-{part.airflow}.log"
            command = [python_of(BUILD / "envs" / part.airflow), "-m", "pytest", f"--junitxml={_report(part)}"]
            env = without_key() | {"QWENIMAGE_TEST_DIST": str(wheel.parent)}
            command += ["-m", part.marks, *arguments]
            children[part] = stack.enter_context(started(command, logs[part], cwd=where, env=env))
        for part, child in children.items():
            print(f"\n{part.name}" + (f" (its output is in {logs[part]})" if logs[part] else ""), flush=True)
            codes[part] = child.wait()
    allowed = (0, NO_TESTS) if arguments else (0,)
    outcomes = {part: read(_report(part), codes[part] in allowed, time.monotonic() - began) for part in parts}
    for part, log in logs.items():
        if log and not outcomes[part].ok:
            print(f"\n{part.name}\n{tail(log, 200)}", flush=True)
    return outcomes


def _report(part: Part) -> Path:
    return BUILD / "run" / part.airflow / f"results-{part.marks.replace(' ', '-')}.xml"


def read(report: Path, ok: bool, seconds: float) -> Outcome:
    if not report.exists():
        return Outcome(ok=False, seconds=seconds)
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return Outcome(ok, passed, failed, count["skipped"], seconds)


def summary(linted: dict[str, bool], outcomes: dict[Part, Outcome]) -> int:
    """Prints a line per part and the total; returns the exit code."""
    print("\nResults")
    for name, content in linted.items():
        print(f"  {name:16} {'ok' if content else 'FAILED'}")
    for part, outcome in outcomes.items():
        print(f"  {part.name}: {'ok' if outcome.ok else 'FAILED'}: {outcome} in {outcome.seconds:.0f} s")
    if not any(part.airflow == OLDEST for part in outcomes):
        print(f"  Airflow {OLDEST}: left out, it needs Python 3.10 to 3.12 and none is on PATH")
    each = list(outcomes.values())
    total = Outcome(True, *(sum(getattr(o, what) for o in each) for what in ("passed", "failed", "skipped")))
    print(f"total: {total}", flush=True)
    return 0 if all(linted.values()) and all(outcome.ok for outcome in each) else 1


def main(arguments: list[str]) -> int:
    install_dev()
    install_debian_packages()
    linted = lint()
    wheel = build()
    pythons = {airflow: python_for(airflow) for airflow in (NEWEST, OLDEST)}
    for airflow, python in pythons.items():
        if python:
            prepare(airflow, python, wheel)
            lay_out(airflow)
    together = [part for part in TOGETHER if pythons[part.airflow]]
    outcomes = run_parts(together, wheel, arguments) | run_parts([ALONE], wheel, arguments)
    return summary(linted, outcomes)


if __name__ == "__main__":
    script(main)
