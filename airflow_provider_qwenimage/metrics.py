"""Counters and timers in Airflow's own metrics. Names are an interface; no ids in tags, they would never end."""

from __future__ import annotations

from airflow_provider_qwenimage._compat import stats


def count(name: str, amount: int = 1) -> None:
    """Add to the counter ``qwenimage.<name>``."""
    stats().incr(f"qwenimage.{name}", amount)


def timing(name: str, seconds: float) -> None:
    """Record a duration in the timer ``qwenimage.<name>``."""
    from datetime import timedelta

    stats().timing(f"qwenimage.{name}", timedelta(seconds=seconds))
