"""A worker that is killed at a planned point: ``reliability_killed.py '{"point": ..., "run_id": ...}'``.

Also holds the DAG, so that the test can run the next try of the same task instance.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "airflow"), str(HERE.parent / "generate")]


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(kind: Any, name: str) -> None:
    """Die where this would be called."""
    setattr(kind, name, die)


def after(kind: Any, name: str) -> None:
    """Die where this has just been called."""
    known = getattr(kind, name)
    setattr(kind, name, lambda *given, **more: die(known(*given, **more)))


def plan_the_death(point: str) -> None:
    from airflow_provider_qwenimage import purchase, worker_wait
    from airflow_provider_qwenimage.api import client
    from airflow_provider_qwenimage.operators import submitting
    from airflow_provider_qwenimage.saving import images

    {
        "before the intent": lambda: before(purchase, "Record"),
        "before the submit": lambda: before(client.QwenImageClient, "create_task"),
        "after the submit": lambda: after(client.QwenImageClient, "create_task"),
        "after the note": lambda: before(submitting.SubmittingOperator, "push"),
        "while waiting": lambda: after(worker_wait, "poll"),
        "while saving": lambda: before(images, "store"),
        "after saving": lambda: after(images, "store"),
    }[point]()


if __name__ == "__main__":
    from reliability_tries import Tries, generating_here

    asked = json.loads(sys.argv[1])
    tries: Tries = generating_here(Path(os.environ["AIRFLOW_HOME"]), asked["dag_id"], **asked["arguments"])
    plan_the_death(asked["point"])
    tries.next()
