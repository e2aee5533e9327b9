"""Short waits for all tests of this folder."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def quick(short_waits: None) -> None:
    """Wait less."""
