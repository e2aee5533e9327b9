"""`make lock`: renews constraints/, one file per Airflow, valid for every Python that this Airflow and we support.

Each set is what was newest on the day beside the version. It is not Airflow's own constraint file, but a set of its own
time is what an older Airflow is known to work with: 3.0.6 and 3.2.2 break under newer packages.
"""

from __future__ import annotations

import subprocess

from envs import DEV, NEWEST, ROOT, clean_environment, constraints
from processes import Failure, script

DAYS = {
    NEWEST: "2026-11-20",
    "3.2.2": "2026-06-05",
    "3.1.8": "2026-03-20",
    "3.0.6": "2025-09-10",
    "2.11.2": "2026-03-20",
}
HEADER = """\
# Made by `make lock`, not by hand; the whole command:
#   echo apache-airflow=={airflow} | uv {command}
"""


def lock(airflow: str, day: str) -> str:
    """Resolves the set for one Airflow; returns the file's text."""
    groups = ["test", "lint", "build"] if airflow == NEWEST else ["test"]
    chosen = [word for group in groups for word in ("--group", group)]
    command = ["pip", "compile", "pyproject.toml", "-", "--extra", "emulator", *chosen, "--no-annotate", "--no-header"]
    command += ["--universal", "--python-version", "3.10", "--exclude-newer", day]
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
        constraints(airflow).write_text(lock(airflow, day), encoding="utf-8")
    return 0


if __name__ == "__main__":
    script(main)
