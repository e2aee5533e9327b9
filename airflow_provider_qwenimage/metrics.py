"""Counters and timers in Airflow's own metrics. Names are an interface; no ids in tags, they would never end.

None of these raises: what is counted has happened, and may be paid for.
"""

from __future__ import annotations

import logging

from airflow_provider_qwenimage._compat import stats

log = logging.getLogger(__name__)
_told = False  # once per process: a client whose agent is away fails at each poll


def count(name: str, amount: int = 1) -> None:
    """Add to the counter ``qwenimage.<name>``."""
    try:
        stats().incr(f"qwenimage.{name}", amount)
    except Exception as error:
        _tell(error)


def timing(name: str, seconds: float) -> None:
    """Record a duration in the timer ``qwenimage.<name>``."""
    from datetime import timedelta

    try:
        stats().timing(f"qwenimage.{name}", timedelta(seconds=seconds))
    except Exception as error:
        _tell(error)


def _tell(error: Exception) -> None:
    global _told
    if not _told:
        _told = True
        log.warning("Metrics can't be sent, going on without: %s: %s", type(error).__name__, error, exc_info=error)
