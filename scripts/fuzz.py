"""`make fuzz`: hostile bytes for what reads replies and images, with atheris in an environment of its own.

`make fuzz ARGS=600` takes ten minutes for each target instead of one. An input that fails is kept in `build/fuzz`.
"""

from __future__ import annotations

import sys

from envs import DEV, LOGS, NEWEST, ROOT, clean_environment, constraints, install_dev, make, python_of
from processes import run, script

ENV = ROOT / "build" / "envs" / "fuzz"
WORK = ROOT / "build" / "fuzz"
ATHERIS = "atheris==3.0.0"
NEEDED = (ATHERIS, "pydantic", "requests", "aiohttp", "tenacity", "pillow")  # what api/ imports, and the seeds


def has_atheris() -> bool:
    """Makes the environment; where atheris does not install, blind mutations have to do."""
    make(ENV, sys.executable)
    command = [DEV / "bin" / "uv", "pip", "install", "--python", python_of(ENV), "--constraints", constraints(NEWEST)]
    return run([*command, *NEEDED], LOGS / "install-fuzz.log", cwd=ROOT, env=clean_environment()) == 0


def main(arguments: list[str]) -> int:
    install_dev()
    found = has_atheris()
    if not found:
        print(f"{ATHERIS} does not install here: fuzzing with blind mutations", flush=True)
    WORK.mkdir(parents=True, exist_ok=True)
    python = python_of(ENV if found else DEV)
    command = [python, ROOT / "tests" / "reliability" / "reliability_fuzz.py", *(arguments or ["60"])]
    return run(command, cwd=WORK, env=clean_environment() | {"PYTHONPATH": str(ROOT)})


if __name__ == "__main__":
    script(main)
