"""`make test`: lint, types, the site, then the built wheel is tested in a clean environment for each supported Airflow.

The newest and the oldest Airflow get all tests, those between them the ones that differ (`cells.py` says which).
Nothing is tested from the source tree: see `wheel.py`.
"""

from __future__ import annotations

import re
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from cells import E2E, FULL, HALVES, MIDDLE, OLDEST, PYTHONS, find_python, smoke
from debian import install_debian_packages
from envs import LOGS, NEWEST, install_dev, python_of, without_key
from lint import lint
from processes import Child, script, started, tail
from wheel import BUILD, build, for_tests, lay_out, prepare

from docs import build_docs

NO_TESTS = 5


@dataclass(frozen=True)
class Part:
    """One run of pytest: on which Airflow, and which tests."""

    airflow: str
    tests: tuple[str, ...]
    title: str

    @property
    def name(self) -> str:
        """The part in words."""
        return f"Airflow {self.airflow}, {self.title}"

    @property
    def _stem(self) -> str:
        return re.sub(r"\W+", "-", self.title)

    @property
    def where(self) -> Path:
        """Where it runs."""
        return BUILD / "run" / self.airflow

    @property
    def report(self) -> Path:
        """What pytest reports."""
        return self.where / f"results-{self._stem}.xml"

    @property
    def log(self) -> Path:
        """What pytest prints."""
        return LOGS / f"tests-{self.airflow}-{self._stem}.log"


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


# Most tests wait for something, so lanes share the cores; a whole running Airflow wants them for itself.
IN_HALVES = [
    [Part(airflow, half, f"without a running scheduler, {which} half")]
    for airflow in (NEWEST, OLDEST)
    for which, half in zip(("first", "second"), HALVES, strict=True)
]
# Files that are named among the arguments would be in one of the halves only.
WHOLE = [[Part(airflow, FULL, "without a running scheduler")] for airflow in (NEWEST, OLDEST)]
BETWEEN = [Part(airflow, smoke(airflow), "smoke tests") for airflow in MIDDLE]
ALONE = [[Part(NEWEST, E2E, "with a running scheduler")]]


def run_lanes(lanes: list[list[Part]], wheel: Path, arguments: list[str]) -> dict[Part, Outcome]:
    """Runs the parts of a lane one after the other, and the lanes at the same time."""
    waiting = [list(lane) for lane in lanes]
    outcomes: dict[Part, Outcome] = {}
    with ExitStack() as stack:
        running: dict[int, tuple[Part, Child, float]] = {}
        while running or any(waiting):
            for lane, parts in enumerate(waiting):
                if lane not in running and parts:
                    part = parts.pop(0)
                    running[lane] = (part, stack.enter_context(_pytest(part, wheel, arguments)), time.monotonic())
            time.sleep(0.2)
            for lane, (part, child, began) in list(running.items()):
                if child.poll() is not None:
                    del running[lane]
                    outcomes[part] = _ended(part, child.returncode, time.monotonic() - began, bool(arguments))
    return outcomes


def _pytest(part: Part, wheel: Path, arguments: list[str]) -> AbstractContextManager[Child]:
    print(f"\n{part.name}: started, its output goes to {part.log}", flush=True)
    part.report.unlink(missing_ok=True)
    command = [python_of(BUILD / "envs" / part.airflow), "-m", "pytest", f"--junitxml={part.report}", *part.tests]
    env = without_key() | for_tests(wheel)
    return started([*command, *arguments], part.log, cwd=part.where, env=env)


def _ended(part: Part, code: int, seconds: float, may_be_none: bool) -> Outcome:
    outcome = read(part.report, code == 0 or (may_be_none and code == NO_TESTS), seconds)
    print(f"\n{part.name}: {'ok' if outcome.ok else 'FAILED'}: {outcome} in {seconds:.0f} s", flush=True)
    print(tail(part.log, 40 if outcome.ok else 300), flush=True)
    return outcome


def read(report: Path, ok: bool, seconds: float) -> Outcome:
    """What a report of pytest says."""
    if not report.exists():
        return Outcome(ok=False, seconds=seconds)
    suite = next(ElementTree.parse(report).getroot().iter("testsuite"))
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return Outcome(ok, passed, failed, count["skipped"], seconds)


def summary(linted: dict[str, bool], outcomes: dict[Part, Outcome], left_out: list[str]) -> int:
    """Prints a line per part and the total; returns the exit code."""
    print("\nResults")
    for name, content in linted.items():
        print(f"  {name:16} {'ok' if content else 'FAILED'}")
    for part, outcome in outcomes.items():
        print(f"  {part.name}: {'ok' if outcome.ok else 'FAILED'}: {outcome} in {outcome.seconds:.0f} s")
    for airflow in left_out:
        versions = f"{PYTHONS[airflow][0]} to {PYTHONS[airflow][-1]}"
        print(f"  Airflow {airflow}: left out, it needs Python {versions} and there is none here")
    each = list(outcomes.values())
    total = Outcome(True, *(sum(getattr(o, what) for o in each) for what in ("passed", "failed", "skipped")))
    print(f"total: {total}", flush=True)
    return 0 if all(linted.values()) and all(outcome.ok for outcome in each) else 1


def main(arguments: list[str]) -> int:
    install_dev()
    install_debian_packages()
    linted = lint() | {"docs": build_docs()}
    wheel = build()
    pythons = {airflow: find_python(airflow) for airflow in (NEWEST, OLDEST, *MIDDLE)}
    for airflow, python in pythons.items():
        if python:
            # Where Airflow's processes start at the same time, each would compile the same modules.
            prepare(airflow, python, wheel, compiled=airflow == NEWEST)
            lay_out(BUILD / "run" / airflow)
    *others, last = WHOLE if arguments else IN_HALVES
    lanes = [[part for part in lane if pythons[part.airflow]] for lane in (*others, last + BETWEEN)]
    outcomes = run_lanes(lanes, wheel, arguments) | run_lanes(ALONE, wheel, arguments)
    return summary(linted, outcomes, [airflow for airflow, python in pythons.items() if not python])


if __name__ == "__main__":
    script(main)
