"""What only these tests need."""

from __future__ import annotations

import pytest


@pytest.fixture
def soon_deferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits be deferred that are shorter than what a scheduler can bear; ``dag.test()`` has none."""
    monkeypatch.setattr("airflow_provider_qwenimage.waits.SHORTEST_DEFERRAL", 0.3)
