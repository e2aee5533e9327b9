"""Waits to try polling policies on. Made up: no recording of the service can be had."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import exp
from random import Random


@dataclass(frozen=True)
class Wait:
    """One generation.

    :param submitted_at: seconds since the trace began.
    :param estimate: what the service said, seconds; None if it said nothing.
    :param duration: what it took, seconds.
    """

    submitted_at: float
    estimate: float | None
    duration: float


class Traces:
    """Makes the traces, each with ``waits`` waits that come at random, ``every`` so many seconds."""

    def __init__(self, waits: int, seed: int = 5) -> None:
        self._waits = waits
        self._chance = Random(seed)

    def all(self) -> dict[str, list[Wait]]:
        """Return the traces by their names."""
        return {**self._right(), **self._wrong(), **self._changing(), **self._unknown(), **self._long()}

    def _right(self) -> dict[str, list[Wait]]:
        chance = self._chance
        return {
            "8-12 s, estimate 10 s": self._made(self._usual, 10),
            "8-12 s, estimate 10 s, all at once": self._made(self._usual, 10, every=0),
            "9.5-10.5 s, estimate 10 s": self._made(lambda: chance.uniform(9.5, 10.5), 10),
            "5-60 s, estimate right ± 20 %": self._told(
                lambda: chance.uniform(5, 60), lambda took: took / chance.uniform(0.8, 1.2)
            ),
            "lognormal around 10 s (sigma 0.6), estimate 10 s": self._made(lambda: self._around(10, 0.6), 10),
            "Pareto from 6 s (alpha 1.5), estimate 10 s": self._made(self._pareto, 10),
            "four in five 10 s, one 35 s, estimate 15 s": self._made(self._mixed, 15),
        }

    def _wrong(self) -> dict[str, list[Wait]]:
        shapes = {100: "× 10", 30: "× 3", 20: "× 2", 5: "× 0.5", 3: "× 0.3", 1: "× 0.1"}
        found = {
            f"8-12 s, estimate {told} s ({factor})": self._made(self._usual, told) for told, factor in shapes.items()
        }
        for told in (100, 3):
            name = f"8-12 s, estimate {told} s ({shapes[told]}), all at once"
            found[name] = self._made(self._usual, told, every=0)
        found["8-12 s, estimate off by e either way"] = self._told(self._usual, lambda took: self._around(took, 1.0))
        return found

    def _changing(self) -> dict[str, list[Wait]]:
        def changed(factor: float) -> list[Wait]:
            steady, half = self._made(self._usual, 10), self._waits // 2
            return steady[:half] + [replace(wait, duration=wait.duration * factor) for wait in steady[half:]]

        return {
            "8-12 s, then three times slower, estimate 10 s": changed(3.0),
            "8-12 s, then three times faster, estimate 10 s": changed(1 / 3),
        }

    def _unknown(self) -> dict[str, list[Wait]]:
        return {
            "8-12 s, no estimate": self._made(self._usual, None),
            "lognormal around 10 s (sigma 0.6), no estimate": self._made(lambda: self._around(10, 0.6), None),
        }

    def _long(self) -> dict[str, list[Wait]]:
        def minutes() -> float:
            return self._chance.uniform(120, 240)

        return {
            "2-4 minutes, estimate 3": self._made(minutes, 180, every=5),
            "lognormal around 3 minutes (sigma 0.5), estimate 1": self._made(
                lambda: self._around(180, 0.5), 60, every=5
            ),
            "2-4 minutes, estimate 30": self._made(minutes, 1800, every=5),
        }

    def _made(self, duration: Callable[[], float], estimate: float | None, every: float = 1.0) -> list[Wait]:
        at, found = 0.0, []
        for _ in range(self._waits):
            at += self._chance.expovariate(1 / every) if every else 0.0
            found.append(Wait(at, estimate, duration()))
        return found

    def _told(self, duration: Callable[[], float], estimate: Callable[[float], float]) -> list[Wait]:
        return [replace(wait, estimate=estimate(wait.duration)) for wait in self._made(duration, None)]

    def _usual(self) -> float:
        return self._chance.uniform(8, 12)

    def _around(self, median: float, sigma: float) -> float:
        return median * exp(self._chance.gauss(0, sigma))

    def _mixed(self) -> float:
        return self._around(10, 0.15) if self._chance.random() < 0.8 else self._around(35, 0.15)

    def _pareto(self) -> float:
        return min(6 * self._chance.paretovariate(1.5), 600.0)
