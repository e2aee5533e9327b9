"""`make bench`: the benchmarks of docs/benchmarks.md, in an environment of their own; `ARGS=waits` runs one of them."""

from __future__ import annotations

import subprocess
import sys

from envs import NEWEST, ROOT, install, install_dev, make, python_of, without_key
from processes import Failure, script

BENCHMARKS = ("polling", "imports", "waits", "saving", "batch", "airflow")
ENV = ROOT / "build" / "envs" / "bench"
PEERS = ROOT / "benchmarks" / "requirements.txt"


def peers() -> list[str]:
    lines = PEERS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def main(arguments: list[str]) -> int:
    names = arguments[:1] or list(BENCHMARKS)
    if names[0] not in BENCHMARKS:
        raise Failure(f"There is no benchmark {names[0]!r}, but {', '.join(BENCHMARKS)}.")
    install_dev()
    make(ENV, sys.executable)
    install(ENV, NEWEST, ["-e", ".[emulator]", *peers()])
    for name in names:
        command = [str(python_of(ENV)), "-m", f"benchmarks.{name}", *arguments[1:]]
        if subprocess.run(command, cwd=ROOT, env=without_key(), check=False).returncode:
            return 1
    return 0


if __name__ == "__main__":
    script(main)
