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
NEAR = (0.85, 1.4)  # estimates: where the estimate is taken for right
BEFORE, RIGHT, AFTER = 0.12, 6.0, 0.7  # assumed to end, per e-fold of the age: before that, there, and after it
ASSUMED = 2.0  # generations that the assumption weighs as much as
MEMORY = 50.0  # generations that a step remembers: newer ones count more
LEAST = 0.01  # per e-fold of the age: what was never seen can be learned yet

_STEP = 0.07  # of the logarithm of the age
_EDGES = (0.0, *(0.05 * exp(_STEP * step) for step in range(116)))  # the last one is at some 160 estimates
_STEPS = len(_EDGES) - 1


class Lifetimes:
    """The counts. Reading takes no lock: a chance that is a moment old does no harm."""

    def __init__(self) -> None:
        self._seen = [0.0] * _STEPS
        self._ended = [0.0] * _STEPS

    def ahead(self, age: float, estimate: float | None) -> Iterator[tuple[float, float]]:
        """Yield ends of steps, in seconds of age, each with the chance to end by then since the one before."""
        unit = estimate or UNKNOWN
        assumed = _ASSUMED_WITH if estimate else _ASSUMED_WITHOUT
        first, early = _step_of(age / unit), _step_of(min(EARLIEST / unit, NEAR[0]))
        end = age
        for step in range(first, _STEPS):
            since, end = end, _EDGES[step + 1] * unit
            chance = self._chance(step, 0.0 if step < early else assumed[step])
            if step == first:
                chance = _in_part(chance, (end - since) / (end - _EDGES[step] * unit))
            if end > since:
                yield end, chance
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
        assumed = _ASSUMED_WITH if estimate else _ASSUMED_WITHOUT
        for step, part in _parts(since / unit, age / unit):
            ends = alive * _in_part(max(self._chance(step, assumed[step]), LEAST * _STEP), part)
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
        self._seen[step], self._ended[step] = seen / too_many, ended / too_many

    def _chance(self, step: int, assumed: float) -> float:
        return -expm1(-(self._ended[step] + ASSUMED * assumed) / (self._seen[step] + ASSUMED))


def _chance(age: float) -> float:
    return _STEP * (BEFORE if age <= NEAR[0] else RIGHT if age <= NEAR[1] else AFTER)


_ASSUMED_WITH = tuple(_chance(age) for age in _EDGES[1:])
_ASSUMED_WITHOUT = (AFTER * _STEP,) * _STEPS


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
