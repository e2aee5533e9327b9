"""Paces submissions: all of them share one gate, which a refusal (429, 503) narrows and closes for a while."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

SUBMITS_AT_ONCE = 8  # in flight: what a crash can leave unknown
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
UNKNOWN_IN_A_ROW = 10
REJECTED_IN_A_ROW = 20  # with the same words: the service says no to everything


class RejectedInARowError(Exception):
    """The service says the same no to everything: it is not about the requests, so a retry may well help."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"The service refused {REJECTED_IN_A_ROW} submissions in a row with the same words: {error}")


class GateClosedError(Exception):
    """Nothing more is submitted; ``why`` says what made it so."""

    def __init__(self, why: Exception) -> None:
        super().__init__(str(why))
        self.why = why


class Gate:
    """Lets submissions through, as many at a time as the service bears: half as many after a refusal, one more after
    each that was accepted.

    :param patience: seconds of nothing but refusals after which the gate is closed for good.
    :param clock: tells monotonic seconds.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience = patience
        self._clock = clock
        self._turnstile = asyncio.Lock()
        self._changed = asyncio.Event()
        self._limit = float(SUBMITS_AT_ONCE)
        self._inside = 0
        self._pause = 0.0
        self._opens_at = 0.0
        self._refused_since: float | None = None  # the first one since something was accepted
        self._unknown = 0
        self._rejected, self._rejection = 0, ""
        self.closed_by: Exception | None = None
        self.put_off = 0  # how often a submission was refused that may be made again

    async def enter(self) -> None:
        """Wait for one's turn; ``leave`` afterwards.

        :raises GateClosedError: nothing more is submitted.
        """
        async with self._turnstile:
            while True:
                if self.closed_by:
                    raise GateClosedError(self.closed_by)
                pause = self._opens_at - self._clock()
                if pause <= 0 and self._inside < int(self._limit):
                    break
                await self._change(pause if pause > 0 else None)
            self._inside += 1

    def leave(self) -> None:
        """Make room for the next one."""
        self._inside -= 1
        self._changed.set()

    def accepted(self) -> None:
        """Note that the service took a submission."""
        self._rejected = 0
        self._understood()

    def rejected(self, error: Exception) -> None:
        """Note that the service understood a submission and said no: a request that breaks a rule stops no other, but
        the same words to many in a row are about all of them."""
        self._rejected = self._rejected + 1 if str(error) == self._rejection else 1
        self._rejection = str(error)
        self._understood()
        if self._rejected >= REJECTED_IN_A_ROW:
            self.close(RejectedInARowError(error))

    def refused(self, error: Exception) -> None:
        """Hold all submissions for as long as the service asks, or for a while that grows."""
        self.put_off += 1
        now = self._clock()
        if self._refused_since is None:
            self._refused_since = now
        if now - self._refused_since >= self._patience:
            self.close(error)
        if now >= self._opens_at:  # of those that were in flight together, the first one sets the pause
            self._limit = max(1.0, self._limit / 2)
            self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
            self._opens_at = now + self._pause * random.uniform(0.75, 1.25)  # noqa: S311
        self._opens_at = max(self._opens_at, now + (getattr(error, "retry_after", None) or 0.0))
        self._changed.set()

    def lost(self, error: Exception) -> None:
        """Note a submission whose answer was lost: many in a row must not go on costing money."""
        self._unknown += 1
        if self._unknown >= UNKNOWN_IN_A_ROW:
            self.close(error)

    def close(self, why: Exception) -> None:
        """Let nothing through any more."""
        self.closed_by = self.closed_by or why
        self._changed.set()

    def _understood(self) -> None:
        self._refused_since = None
        self._pause, self._unknown = 0.0, 0
        self._limit = min(self._limit + 1, SUBMITS_AT_ONCE)

    async def _change(self, seconds: float | None) -> None:
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except asyncio.TimeoutError:
            return
