"""How likely a generation is to end at which age: assumed at first, then learned from those that were seen.

Ages are counted in estimates, so that one generation teaches about others with other estimates, and cut into steps that
grow with the age. For each step there are two counts: the generations that were seen in it, those that were there for
a part of it as that part, and those that ended in it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from math import exp, expm1

UNKNOWN = 10.0  # seconds: the measure where there is no estimate
EARLIEST = 6.0  # seconds: before this age, and before the estimate, only what was learned counts
NEAR = (0.85, 1.26)  # estimates: where the estimate is taken for right
BEFORE, RIGHT, AFTER = 0.12, 7.0, 0.7  # assumed to end, per e-fold of the age: before that, there, and after it
ASSUMED = 2.0  # generations that the assumption weighs as much as
MEMORY = 50.0  # generations that a step remembers: newer ones count more
LEAST = 0.01  # per e-fold of the age: what was never seen can be learned yet

_STEP = 0.07  # of the logarithm of the age
_EDGES = (0.0, *(0.05 * exp(_STEP * step) for step in range(116)))  # the last one is at some 160 estimates
_STEPS = len(_EDGES) - 1


class Lifetimes:
    """The counts. Reading takes no lock: a chance that is a moment old does no harm.

    :param with_estimate: whether these generations come with estimates; a generation must be counted where it belongs.
    """

    def __init__(self, *, with_estimate: bool) -> None:
        self._assumed = _ASSUMED_WITH if with_estimate else _ASSUMED_WITHOUT
        self._seen = [0.0] * _STEPS
        self._ended = [0.0] * _STEPS
        # To end in each step. Thousands of waits read them for each that changes them, so they are kept.
        self._chances = list(_CHANCES_WITH if with_estimate else _CHANCES_WITHOUT)
        self._chances_early = [0.0] * _STEPS  # where nothing is assumed

    def ahead(self, age: float, estimate: float | None) -> Iterator[tuple[float, float]]:
        """Yield ends of steps, in seconds of age, each with the chance to end by then since the one before."""
        unit = estimate or UNKNOWN
        first, early = _step_of(age / unit), _step_of(min(EARLIEST / unit, NEAR[0]))
        chances = self._chances_early[:early] + self._chances[early:]
        end = age
        if first < _STEPS:
            since, end = _EDGES[first] * unit, _EDGES[first + 1] * unit
            if end > age:
                yield end, _in_part(chances[first], (end - age) / (end - since))
        for step in range(first + 1, _STEPS):
            end = _EDGES[step + 1] * unit
            yield end, chances[step]
        while True:
            end *= 1 + _STEP
            yield end, AFTER * _STEP

    def survived(self, since: float, age: float, estimate: float | None) -> None:
        """Count one generation as seen from ``since`` to ``age``."""
        unit = estimate or UNKNOWN
        for step, part in _parts(since / unit, age / unit):
            self._add(step, part, 0.0)

    def ended(self, since: float, age: float, estimate: float | None) -> None:
        """Count one generation as ended between ``since`` and ``age``: split up as it is likely by what is known."""
        unit, alive, shares = estimate or UNKNOWN, 1.0, []
        for step, part in _parts(since / unit, age / unit):
            ends = alive * _in_part(max(self._chances[step], LEAST * _STEP), part)
            shares.append((step, part, ends))
            alive -= ends
        if alive >= 1:
            return  # too short a time to tell anything from
        left = 1.0
        for step, part, ends in shares:
            share = ends / (1 - alive)
            self._add(step, part * (left - share / 2), share)  # what ends in a step is there for half of it
            left = max(0.0, left - share)

    def _add(self, step: int, seen: float, ended: float) -> None:
        seen += self._seen[step]
        ended += self._ended[step]
        too_many = max(seen, ended, MEMORY) / MEMORY
        seen, ended = self._seen[step], self._ended[step] = seen / too_many, ended / too_many
        self._chances[step] = _chance(seen, ended, self._assumed[step])
        self._chances_early[step] = _chance(seen, ended, 0.0)


def _chance(seen: float, ended: float, assumed: float) -> float:
    return -expm1(-(ended + ASSUMED * assumed) / (seen + ASSUMED))


def _assumed(age: float) -> float:
    return _STEP * (BEFORE if age <= NEAR[0] else RIGHT if age <= NEAR[1] else AFTER)


_ASSUMED_WITH = tuple(map(_assumed, _EDGES[1:]))
_ASSUMED_WITHOUT = (AFTER * _STEP,) * _STEPS
_CHANCES_WITH, _CHANCES_WITHOUT = (
    tuple(_chance(0.0, 0.0, assumed) for assumed in table) for table in (_ASSUMED_WITH, _ASSUMED_WITHOUT)
)


def _in_part(chance: float, part: float) -> float:
    """Return the chance to end in a part of a step."""
    return chance if part >= 1 else float(1 - (1 - chance) ** part)


def _step_of(age: float) -> int:
    return min(bisect_right(_EDGES, age) - 1, _STEPS)


def _parts(since: float, age: float) -> Iterator[tuple[int, float]]:
    """Yield the steps between two ages in estimates, each with the part of it that is between them."""
    for step in range(_step_of(since), min(_step_of(age) + 1, _STEPS)):
        low, high = _EDGES[step], _EDGES[step + 1]
        part = (min(age, high) - max(since, low)) / (high - low)
        if part > 0:
            yield step, part
