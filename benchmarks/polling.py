"""Compares polling policies by simulation: how often they ask, and how long a completed generation lies unseen.

``python -m benchmarks.polling`` prints the tables of docs/polling.md. Nothing is sent and no time passes:
the clock is a number, and the same figures come out each time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random
from statistics import mean
from typing import Protocol

from airflow_provider_qwenimage.api.experience import Experience
from airflow_provider_qwenimage.api.models import Generation, GenerationStatus
from airflow_provider_qwenimage.api.waiting import Plan, Waiting
from benchmarks.polling_traces import Traces, Wait

PROCESSING = Generation(generation_id="abc", status=GenerationStatus.PROCESSING)
COMPLETED = Generation(generation_id="abc", status=GenerationStatus.COMPLETED, result_urls=("https://cdn/x.jpeg",))
NEVER = 1e9


class Policy(Protocol):
    """One wait under a policy: says at which age to ask."""

    def first(self) -> float:
        """Return the age of the first poll, seconds."""

    def next(self, age: float, completed: bool) -> float:
        """Return the age of the next poll after one that was made at ``age``; the result of a last one is not used."""


@dataclass
class Steps:
    """Polls at fixed ages, then at a fixed interval."""

    ages: tuple[float, ...]
    interval: float

    def first(self) -> float:
        return self.ages[0] if self.ages else self.interval

    def next(self, age: float, completed: bool) -> float:
        return next((later for later in self.ages if later > age + 1e-6), age + self.interval)


@dataclass
class TenthOfAge:
    """What this provider did at first: from 85 % of the estimate, every tenth of the age."""

    estimate: float | None
    chance: Random

    def first(self) -> float:
        return self.estimate * 0.85 + self.chance.uniform(0, self._interval(self.estimate)) if self.estimate else 0.0

    def next(self, age: float, completed: bool) -> float:
        return age + self._interval(age) * self.chance.uniform(0.8, 1.2)

    def _interval(self, age: float) -> float:
        return min(max(age * 0.1, 0.5), 10)


class Ours:
    """The provider's own ``Waiting``."""

    def __init__(self, wait: Wait, chance: Random, experience: Experience | None) -> None:
        plan = Plan("abc", wait.submitted_at, NEVER, wait.estimate)
        self._since, self._waiting = wait.submitted_at, Waiting(plan, chance.uniform, experience)

    def first(self) -> float:
        return self._waiting.start(self._since).until - self._since

    def next(self, age: float, completed: bool) -> float:
        decision = self._waiting.after(self._since + age, COMPLETED if completed else PROCESSING)
        return getattr(decision, "until", NEVER) - self._since


Maker = Callable[[Wait, Random, Experience], Policy]
POLICIES: dict[str, Maker] = {
    "ours": lambda wait, chance, experience: Ours(wait, chance, experience),
    "ours, a first wait": lambda wait, chance, experience: Ours(wait, chance, None),
    "every 1 s": lambda wait, chance, experience: Steps((), 1),
    "every 2 s": lambda wait, chance, experience: Steps((), 2),
    "every 5 s": lambda wait, chance, experience: Steps((), 5),
    "every 10 s": lambda wait, chance, experience: Steps((), 10),
    "estimate, then 5 s": lambda wait, chance, experience: Steps((wait.estimate or 5,), 5),
    "75 %, 100 %, then 10 s": lambda wait, chance, experience: Steps(
        (0.75 * wait.estimate, wait.estimate) if wait.estimate else (), 10
    ),
    "85 %, then a tenth of the age": lambda wait, chance, experience: TenthOfAge(wait.estimate, chance),
}


OURS = {"ours": "learned", "ours, a first wait": "first wait"}


@dataclass(frozen=True)
class Figures:
    """What a policy came to: polls per wait, and seconds from completion to its detection."""

    polls: float
    lag: float
    p50: float
    p95: float
    p99: float
    most: float

    def beats(self, other: Figures) -> bool:
        """Tell whether this one has fewer polls and less lag than the other."""
        return self.polls <= other.polls and self.lag <= other.lag


def simulate(waits: list[Wait], make: Maker, seed: int = 1) -> Figures:
    """Run all waits of a trace in the order of time, so that each knows what others have seen before."""
    chance, experience = Random(seed), Experience()
    made: list[Policy | None] = [None] * len(waits)
    polls, lags = 0, []
    due = [(wait.submitted_at, index) for index, wait in enumerate(waits)]
    heapify(due)
    while due:
        now, index = heappop(due)
        wait, policy = waits[index], made[index]
        if policy is None:
            policy = made[index] = make(wait, chance, experience)
            heappush(due, (wait.submitted_at + policy.first(), index))
            continue
        age = now - wait.submitted_at
        polls += 1
        following = policy.next(age, completed=age >= wait.duration)
        if age >= wait.duration:
            lags.append(age - wait.duration)
        else:
            heappush(due, (wait.submitted_at + following, index))
    return _figures(polls / len(waits), sorted(lags))


def _figures(polls: float, lags: list[float]) -> Figures:
    def at(share: float) -> float:
        return lags[min(len(lags) - 1, int(share * len(lags)))]

    return Figures(polls, mean(lags), at(0.5), at(0.95), at(0.99), lags[-1])


def same_polls(trace: list[Wait], polls: float) -> float:
    """Return the mean lag, seconds, of a fixed interval that polls as often: half of that interval."""
    return mean(wait.duration for wait in trace) / max(polls - 0.5, 0.01) / 2


def beaten_by(own: Figures, figures: dict[str, Figures]) -> str:
    """Name the policies that have fewer polls than ours and less lag."""
    return ", ".join(policy for policy, other in figures.items() if policy not in OURS and other.beats(own))


def table_of_all(found: dict[str, dict[str, Figures]], waits: dict[str, list[Wait]]) -> str:
    """Return one row for each trace: what ours comes to."""
    rows = [
        "| waits | | polls | lag: mean | p50 | p95 | p99 | lag of a fixed interval with as many polls | beaten by |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, figures in found.items():
        for label, own in OURS.items():
            fixed = same_polls(waits[name], figures[label].polls)
            cells = (name if own == "learned" else "", own, *_cells(figures[label]), f"{fixed:.2f}")
            rows.append(f"| {' | '.join(cells)} | {beaten_by(figures[label], figures)} |")
    return "\n".join(rows)


def table_of(figures: dict[str, Figures]) -> str:
    """Return one row for each policy."""
    rows = ["| policy | polls | lag: mean | p50 | p95 | p99 |", "|---|--:|--:|--:|--:|--:|"]
    rows += [f"| {policy} | {' | '.join(_cells(figure))} |" for policy, figure in figures.items()]
    return "\n".join(rows)


def _cells(figures: Figures) -> tuple[str, ...]:
    return tuple(f"{value:.2f}" for value in (figures.polls, figures.lag, figures.p50, figures.p95, figures.p99))


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=2000, help="waits in each trace")
    waits = Traces(parser.parse_args().waits).all()
    found = {
        name: {policy: simulate(trace, make) for policy, make in POLICIES.items()} for name, trace in waits.items()
    }
    print(table_of_all(found, waits))
    for name, figures in found.items():
        print(f"\n**{name}**\n\n{table_of(figures)}")


if __name__ == "__main__":
    main()
