"""Batches without a scheduler, and short waits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_tries import Tries, shorten_waits


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less: there is no scheduler whose races must be avoided, and the emulator is not busy."""
    shorten_waits(monkeypatch.setattr)


@pytest.fixture
def tries(service: Any, tmp_path: Path) -> Callable[..., Tries]:
    """A task instance of the batch operator, to be run try by try: ``tries(requests=..., ...)``."""
    return lambda **arguments: Tries({"output_path": str(tmp_path / "out"), **arguments})
