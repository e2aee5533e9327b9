"""A worker that is killed with SIGKILL, point by point, and what the next try makes of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import bought, whole_image
from dags_made_here import Bench
from reliability_tries import Tries, generating_here

from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def killed(bench: Bench, service: Emulator, tmp_path: Path) -> Callable[..., Tries]:
    """Run a first try in a process that kills itself at a point; return what is left, for the next try."""

    def kill_at(point: str, **arguments: Any) -> Tries:
        arguments = {"output_path": str(tmp_path / "images"), **arguments}
        dag_id = f"killed_{tmp_path.name}"
        asked = json.dumps({"point": point, "dag_id": dag_id, "arguments": arguments})
        command = [sys.executable, str(HERE / "reliability_killed.py"), asked]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == -signal.SIGKILL, done.stdout[-2000:] + done.stderr[-2000:]
        return generating_here(bench.home, dag_id, **arguments)

    return kill_at


# The point -> the state that the next try ends in, generations bought by then.
POINTS = {
    "before the intent": ("success", 1),
    "before the submit": ("failed", 0),
    "after the submit": ("failed", 1),
    "after the note": ("success", 1),
    "while waiting": ("success", 1),
    "while saving": ("success", 1),
    "after saving": ("success", 1),
}


@pytest.mark.parametrize("point", POINTS)
def test_the_try_after_a_kill(point: str, killed: Callable[..., Tries], service: Emulator, tmp_path: Path):
    """A killed worker costs no second generation: the next try goes on, or says that it can't know."""
    state, count = POINTS[point]
    tries = killed(point)
    assert tries.next() == state
    assert bought(service) == count
    if state == "success":
        assert [whole_image(path).size for path in tries.xcom()]
        names = [path.name for path in (tmp_path / "images").iterdir() if not path.name.startswith(".")]
        assert len(names) == 1
    else:
        assert isinstance(tries.error, errors.UnknownOutcomeError)
        assert "cut off while it submitted" in str(tries.error)
        assert "clear the task to generate anew" in str(tries.error)


def test_a_kill_over_the_submit_is_bought_again_if_told_to(killed: Callable[..., Tries], service: Emulator):
    """With on_unknown_submit="resubmit" the next try submits again, and may pay twice."""
    tries = killed("after the submit", on_unknown_submit="resubmit")
    assert tries.next() == "success"
    assert bought(service) == 2


def test_a_clear_after_a_kill_over_the_submit(killed: Callable[..., Tries], service: Emulator):
    """The way out that the error names works for a killed worker as well."""
    tries = killed("before the submit")
    assert tries.next() == "failed"
    tries.clear()
    assert tries.next() == "success"
    assert bought(service) == 1
