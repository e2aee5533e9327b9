"""Says now and then how far a batch is: a line each half minute, not one a poll."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.batch.gate import Gate
from airflow_provider_qwenimage.batch.index import Entry, Index, Verdict

SECONDS_BETWEEN_LINES = 30.0
FAILURES_TOLD = 50


class Progress:
    """Counts what has ended in this run of the pipeline.

    :param index: knows what there is.
    :param good: the outcomes that are no failures.
    :param gate: knows how often the service was too busy.
    :param log: the task's logger.
    """

    def __init__(self, index: Index, good: tuple[str, ...], gate: Gate, log: Any) -> None:
        self._gate = gate
        self._log = log
        self._outcomes = good
        self._asked = index.asked()
        self._before = sum(index.outcomes().values())
        self._ended, self._good = 0, 0
        self._began = time.monotonic()

    def ended(self, entry: Entry, verdict: Verdict) -> None:
        """Count an item; log why, if it did not end well and not too many have been logged."""
        self._ended += 1
        if verdict.outcome in self._outcomes:
            self._good += 1
            return
        told = self._ended - self._good
        if told <= FAILURES_TOLD:
            key, words = printable(entry.item.key, 80), printable(verdict.error)
            self._log.warning("Item %s: %s. %s", key, verdict.outcome, words)
        if told == FAILURES_TOLD:
            self._log.warning("From here on such items are in the manifest only")

    async def tell(self) -> None:
        """Log for as long as this is not cancelled."""
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LINES)
            self.line()

    def line(self) -> None:
        """Log how far it is."""
        minutes = (time.monotonic() - self._began) / 60
        rate = self._ended / minutes if minutes else 0.0
        left = self._asked - self._before - self._ended
        remaining = f"about {left / rate:.0f} min left" if rate else "nothing has ended yet"
        done, failed = self._before + self._ended, self._ended - self._good
        busy = f", submissions put off by the service (429, 503): {self._gate.put_off}" if self._gate.put_off else ""
        self._log.info("%d of %d, %.0f a minute, %s, %d not saved%s", done, self._asked, rate, remaining, failed, busy)
