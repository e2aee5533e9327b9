"""`make lock`: renews constraints/, one file per Airflow, valid for every Python that this Airflow and we support.

Each set is what was newest on the day beside the version. It is not Airflow's own constraint file, but a set of its own
time is what an older Airflow is known to work with: 3.0.6 and 3.2.2 break under newer packages. The set of LOWEST has
every direct dependency as old as pyproject.toml allows, the rest as it was then.
"""

from __future__ import annotations

import subprocess

from cells import LOWEST, OLDEST
from envs import DEV, LOGS, NEWEST, ROOT, clean_environment, constraints
from processes import Failure, script

DAYS = {
    NEWEST: "2026-11-20",
    "3.2.2": "2026-06-05",
    "3.1.8": "2026-03-20",
    "3.0.6": "2025-09-10",
    OLDEST: "2026-03-20",
    LOWEST: "2025-06-01",
}
PLAIN = ["--no-annotate", "--no-header"]
HEADER = """\
# Made by `make lock`, not by hand; the whole command:
#   echo apache-airflow=={airflow} | uv {command}
"""


def lock(airflow: str, day: str) -> str:
    """Resolves the set for one Airflow; returns the file's text."""
    groups = ["test", "lint", "build", "docs"] if airflow == NEWEST else ["test"]
    chosen = [word for group in groups for word in ("--group", group)]
    command = ["pip", "compile", "pyproject.toml", "-", "--extra", "emulator", *chosen, *PLAIN]
    return _resolved(airflow, [*command, "--universal", "--python-version", "3.10", "--exclude-newer", day])


def lock_lowest(airflow: str, day: str) -> str:
    """The same with the oldest direct dependencies. The tests' own tools are none: they are chosen to go with those."""
    common = [*PLAIN, "--python-version", "3.10", "--exclude-newer", day, "--extra", "emulator"]
    lowest = LOGS / "lowest.txt"
    lowest.parent.mkdir(parents=True, exist_ok=True)
    command = ["pip", "compile", "pyproject.toml", "-", "--resolution", "lowest-direct", *common]
    lowest.write_text(_resolved(airflow, command), encoding="utf-8")
    beside = ["pip", "compile", "pyproject.toml", "-", "--group", "test", "--constraints"]
    return _resolved(airflow, [*beside, str(lowest.relative_to(ROOT)), *common])


def _resolved(airflow: str, command: list[str]) -> str:
    run = subprocess.run(
        [DEV / "bin" / "uv", *command, "--quiet"],
        cwd=ROOT,
        env=clean_environment(),
        input=f"apache-airflow=={airflow}\n",
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise Failure(f"There is no set for Airflow {airflow}; uv said why above. {constraints(airflow)} is as it was.")
    return HEADER.format(airflow=airflow, command=" ".join(command)) + run.stdout


def main(arguments: list[str]) -> int:
    for airflow, day in DAYS.items():
        print(f"Airflow {airflow}, packages of {day}", flush=True)
        found = (lock_lowest if airflow == LOWEST else lock)(airflow, day)
        constraints(airflow).write_text(found, encoding="utf-8")
    return 0


if __name__ == "__main__":
    script(main)
