"""A worker to be killed: ``batch_child.py '{"arguments": ..., "try_number": ..., "max_tries": ...}'``.

Prints what the try ended in, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))


def patch(place: str, value: Any) -> None:
    """Set an attribute by its full name: of a module, or of a class in one."""
    owner, _, name = place.rpartition(".")
    try:
        target: Any = importlib.import_module(owner)
    except ModuleNotFoundError:
        module, _, kind = owner.rpartition(".")
        target = getattr(importlib.import_module(module), kind)
    setattr(target, name, value)


if __name__ == "__main__":
    from batch_tries import Tries, shorten_waits

    from airflow_provider_qwenimage._compat import AirflowFailException

    asked = json.loads(sys.argv[1])
    shorten_waits(patch)
    tries = Tries(asked["arguments"])
    tries.ti.try_number = asked["try_number"] - 1
    path = tries.next()
    told = {
        "path": path,
        "summary": tries.ti.xcoms.get("summary"),
        "error": None if tries.error is None else f"{type(tries.error).__name__}: {tries.error}",
        "final": isinstance(tries.error, AirflowFailException),
    }
    print(json.dumps(told), file=sys.__stdout__)
