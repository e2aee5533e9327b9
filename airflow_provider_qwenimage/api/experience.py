"""When the next poll pays, judged by how long generations of this process have taken, compared with their estimates.

A poll has a price, a fraction of a second, and each second in which a completed generation lies unseen is waste. The
next poll is due when the waste that is to be expected since the last one reaches the price. So polls are dense where
generations tend to end, and rare elsewhere.
"""

from __future__ import annotations

import math
from threading import Lock

from airflow_provider_qwenimage.api.lifetimes import Lifetimes

PRICE = 0.27  # seconds of waste that a poll is worth
PRICE_PER_AGE = 1 / 350  # if that is more: makes intervals of a tenth of the age where nothing is known
TEACHERS = 100.0  # waits that begin in a second and are learned from: more would not teach more
SCOPES = 64

_by_scope: dict[str, Experience] = {}
_lock = Lock()


class Experience:
    """What waits have seen. Bounded, and safe to share between threads and event loops.

    All times are ages: seconds since submission. An estimate is the service's own, in seconds; None if it gave none.
    """

    def __init__(self) -> None:
        self._with_estimate, self._without = Lifetimes(with_estimate=True), Lifetimes(with_estimate=False)
        self._places = {True: _Places(), False: _Places()}
        self._lock = Lock()

    def may_teach(self, now: float, estimate: float | None) -> bool:
        """Tell a wait that begins whether it is to be learned from: wholly or not at all, else the counts are skewed.

        Only the last few dozen generations count. So of thousands that begin together, and end together when there is
        more than enough to do, some are as good as all.

        :param now: epoch seconds.
        """
        with self._lock:
            return self._places[bool(estimate)].take(now)

    def next_poll(self, age: float, estimate: float | None, *, keenness: float, latest: float) -> float:
        """Return the age at which the next poll pays.

        :param age: of the last poll, which found the generation in processing.
        :param keenness: times the price that is paid: chance, so that equal waits do not poll in step.
        :param latest: the age to return if no earlier poll pays.
        """
        gone, waste, start, least = 0.0, 0.0, age, PRICE * keenness
        for end, chance in self._of(estimate).ahead(age, estimate):
            if start >= latest:
                break
            gone_then = gone + (1 - gone) * chance
            waste_then = waste + (gone + gone_then) / 2 * (end - start)
            if waste_then >= least and waste_then >= (price := max(PRICE, PRICE_PER_AGE * end) * keenness):
                return min(start + _when(price - waste, gone, (gone_then - gone) / (end - start)), latest)
            gone, waste, start = gone_then, waste_then, end
        return latest

    def processing(self, since: float, age: float, estimate: float | None) -> None:
        """Learn that a generation did not end between two polls."""
        with self._lock:
            self._of(estimate).survived(since, age, estimate)

    def completed(self, since: float, age: float, estimate: float | None) -> None:
        """Learn that a generation ended between two polls."""
        with self._lock:
            self._of(estimate).ended(since, age, estimate)

    def _of(self, estimate: float | None) -> Lifetimes:
        return self._with_estimate if estimate else self._without


def experience_with(scope: str) -> Experience:
    """Return what this process has seen of one account.

    Who waits for many generations in one process hands it to each ``Waiting``: what one wait has seen makes the others
    poll at better times.

    :param scope: whatever tells accounts apart in this process, as the connection's id.
    """
    with _lock:
        found = _by_scope.pop(scope, None) or Experience()
        _by_scope[scope] = found  # the one used last is the last one, so the first one can go
        if len(_by_scope) > SCOPES:
            del _by_scope[next(iter(_by_scope))]
    return found


class _Places:
    """A second's worth of places, filled up as time goes by."""

    def __init__(self) -> None:
        self._left, self._at = TEACHERS, 0.0

    def take(self, now: float) -> bool:
        """Take one place if there is one."""
        self._left = min(TEACHERS, self._left + TEACHERS * max(0.0, now - self._at))
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _when(waste: float, gone: float, rate: float) -> float:
    """Return after how many seconds ``gone * t + rate * t**2 / 2`` reaches ``waste``."""
    return waste / gone if rate <= 0 else (math.sqrt(gone * gone + 2 * rate * waste) - gone) / rate
