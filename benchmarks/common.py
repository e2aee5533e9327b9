"""What the benchmarks share: a server and each contender in a process of its own, measures, tables."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

KEY = "key_of_a_benchmark"
ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def lean_server(**options: float) -> Iterator[str]:
    """Run the stand-in for the service; gives its URL."""
    arguments = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "benchmarks.lean_server", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin
        assert process.stdout
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


def counts(url: str) -> dict[str, int]:
    """How many requests of each kind the server has answered."""
    with urllib.request.urlopen(f"{url}/counts") as answer:
        found: dict[str, int] = json.load(answer)
        return found


def contend(module: str, *arguments: object, url: str = "", timeout: float = 900) -> dict[str, Any]:
    """Run one contender in a fresh process with an Airflow home of its own; return the JSON that it prints."""
    with tempfile.TemporaryDirectory(prefix="qwenimage-bench-") as home:
        left_out = ("AIRFLOW", "PYTHONDONTWRITEBYTECODE")  # without byte code, imports take many times as long
        environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        environment |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "NO_PROXY": "127.0.0.1"}
        if url:
            environment["AIRFLOW_CONN_QWENIMAGE_DEFAULT"] = json.dumps(
                {"conn_type": "qwenimage", "host": url, "password": KEY}
            )
            environment["AIRFLOW_CONN_HTTP_DEFAULT"] = json.dumps({"conn_type": "http", "host": url})
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{module} {arguments} failed:\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


class Meter:
    """CPU seconds, wall seconds and growth of the peak memory (MB) of this process and the children it has ended."""

    def __enter__(self) -> Meter:
        self._before, self._start, self._memory = _cpu(), time.monotonic(), _resident()
        self._peak, self._done = self._memory, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.monotonic() - self._start
        self.cpu = _cpu() - self._before
        self._done.set()
        self._watch.join()
        self.memory = max(self._peak, _resident()) - self._memory

    def _look(self) -> None:
        while not self._done.wait(0.05):
            self._peak = max(self._peak, _resident())

    def result(self, **more: Any) -> None:
        """Print the measures as JSON, for ``contend``."""
        print(json.dumps({"cpu": self.cpu, "wall": self.wall, "memory": self.memory, **more}))


def _cpu() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


class Stalls:
    """The longest time (seconds) for which the running event loop did not get to a coroutine that was due."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self, step: float = 0.01) -> None:
        """Look until cancelled."""
        while True:
            due = time.monotonic() + step
            await asyncio.sleep(step)
            self.longest = max(self.longest, time.monotonic() - due)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]], aim: str = "") -> None:
    """Print a table in Markdown, with the machine and the day that it is from."""
    print(f"\n### {title}\n")
    print(f"{machine()}; `{' '.join(['python -m', *_command()])}`\n")
    for line in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(str(cell) for cell in line) + " |")
    if aim:
        print(f"\n{aim}")
    sys.stdout.flush()


def _command() -> list[str]:
    spec = sys.modules["__main__"].__spec__
    return [spec.name if spec else sys.argv[0], *sys.argv[1:]]


def machine() -> str:
    """This machine, its load and the day, in a few words."""
    cpus, load = os.cpu_count(), os.getloadavg()[0]
    return (
        f"{date.today()}, {cpus} cores ({_processor()}), load {load:.1f} at the end, Python {platform.python_version()}"  # noqa: DTZ011
    )


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
