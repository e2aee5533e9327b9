"""Children that never outlive the script that started them, also when it is interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

Command = Sequence[object]
Child = subprocess.Popen[bytes]


class Failure(Exception):
    """Something went wrong that the person at the terminal is told in a sentence, without a traceback."""


def script(main: Callable[[list[str]], int]) -> None:
    """Runs a script's main function on its arguments and ends the process with its exit code."""
    _end_on_signals()
    try:
        sys.exit(main(sys.argv[1:]))
    except Failure as failure:
        sys.exit(str(failure))


def _end_on_signals() -> None:
    """Makes SIGINT, SIGTERM and SIGHUP unwind the script, so that everything that it started is stopped."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: FrameType | None) -> None:
        # Pressed twice: the clean-up takes seconds, and has to come to its end.
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in numbers:
        signal.signal(number, end)


@contextlib.contextmanager
def started(command: Command, log: Path | None, *, cwd: Path, env: Mapping[str, str]) -> Iterator[Child]:
    """Runs a command in a process group of its own, its output in `log` (None: shown); the group is gone at the end."""
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(_opened(log)) if log else None
        child = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
        )
        stack.callback(stop, child)
        yield child


def _opened(log: Path) -> IO[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("wb")


def stop(child: Child, patience: float = 20) -> None:
    """Ends a child and all that it started: politely first, then not."""
    # As if Ctrl-C was pressed there: pytest and Airflow then stop what they started themselves.
    if child.poll() is None:
        signal_group(child, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
    signal_group(child, signal.SIGKILL)
    child.wait()


def signal_group(child: Child, number: signal.Signals) -> None:
    # The group is there as long as one process in it is, so an ended child's own children are reached too.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def run(command: Command, log: Path | None = None, *, cwd: Path, env: Mapping[str, str]) -> int:
    """Runs a command to its end and returns its exit code; the output goes to `log`, or is shown."""
    with started(command, log, cwd=cwd, env=env) as child:
        return child.wait()


def tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
