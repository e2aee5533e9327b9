"""Keep waiting until when, done, or give up? Pure: the clock is an argument and nothing is sent from here.

The hook, the sensor and the trigger share it, so that they can't drift apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    GenerationFailedError,
    GenerationTimeoutError,
    InvalidRequestError,
    InvalidSettingsError,
    NotFoundError,
    QwenImageError,
)
from airflow_provider_qwenimage.api.experience import Experience
from airflow_provider_qwenimage.api.models import Generation, GenerationStatus
from airflow_provider_qwenimage.api.text import printable

SHORTEST_INTERVAL = 0.5
LONGEST_INTERVAL = 30.0  # once the estimate is over
FIRST_KEENNESS = (0.4, 2.0)  # waits that start together must spread more than those that have polled before
KEENNESS = (0.64, 1.44)  # some 20 % of an interval more or less
FIRST_BACKOFF = 0.1  # of the age, but no less than the shortest interval
LONGEST_BACKOFF = 60.0
NOT_FOUND_GRACE = 60.0  # seconds from submission; nobody promises that a generation is known as soon as it is bought

FINAL = (InvalidRequestError, AuthenticationError, NotFoundError, GenerationFailedError)


@dataclass(frozen=True)
class KeepWaiting:
    """Ask again at ``until``, epoch seconds; ``problem`` is what went wrong with the last poll, if anything did."""

    until: float
    problem: QwenImageError | None = None


@dataclass(frozen=True)
class Done:
    """The generation is completed."""

    generation: Generation


@dataclass(frozen=True)
class GiveUp:
    """Waiting on can't help; raise ``error``."""

    error: QwenImageError


Decision = KeepWaiting | Done | GiveUp


@dataclass(frozen=True)
class Plan:
    """What is known of a wait when it starts. All plain numbers: they survive a move to another process.

    :param generation_id: what is waited for.
    :param submitted_at: when it was submitted, epoch seconds.
    :param deadline: when waiting ends, epoch seconds.
    :param estimated_time: the service's estimate, seconds from submission; None if unknown.
    :param poll_interval: fixed seconds between polls; None to poll where generations tend to end.
    :param not_before: no poll before this time, epoch seconds.
    """

    generation_id: str
    submitted_at: float
    deadline: float
    estimated_time: float | None = None
    poll_interval: float | None = None
    not_before: float = 0.0


class Waiting:
    """Decides, poll by poll.

    :param plan: what is known of the wait.
    :param spread: draws a number between its two arguments; equal waits must not poll in step.
    :param experience: what other waits have seen, and what this one adds to. Waits of one process share the one of
        ``experience_with``; None starts from nothing.
    """

    def __init__(
        self,
        plan: Plan,
        spread: Callable[[float, float], float] = random.uniform,  # noqa: S311
        experience: Experience | None = None,
    ) -> None:
        self.plan = plan
        self._spread = spread
        self._experience = experience
        self._teaches = True
        self._estimate = plan.estimated_time or None
        self._processing_at: float | None = None  # the age at which it was last known to be in processing
        self._failures = 0
        self._last_problem: QwenImageError | None = None

    def start(self, now: float) -> KeepWaiting:
        """Say when to ask for the first time."""
        plan, first = self.plan, now
        self._teaches = self._experience is None or self._experience.may_teach(now, self._estimate)
        if plan.poll_interval is None and self._estimate:
            first = plan.submitted_at + self._next_poll(0.0, FIRST_KEENNESS)
        if now < first or now <= plan.submitted_at:
            self._processing_at = 0.0  # what is found then has ended in between; else nobody knows when
        return KeepWaiting(min(max(first, plan.not_before, now), max(plan.deadline, now)))

    def after(self, now: float, found: Generation | QwenImageError) -> Decision:
        """Judge the outcome of a poll.

        :param now: epoch seconds.
        :param found: the service's answer, or the error that the poll ended in.
        """
        if isinstance(found, Generation):
            self._learn(now - self.plan.submitted_at, found.status)
        if isinstance(found, Generation) and found.status is GenerationStatus.COMPLETED:
            return Done(found)
        if isinstance(found, Generation) and found.status is GenerationStatus.FAILED:
            return GiveUp(failed(found.generation_id))
        if isinstance(found, FINAL) and not self._is_too_new(now, found):
            return GiveUp(about(found, self.plan.generation_id))
        if now >= self.plan.deadline:
            return GiveUp(self._timed_out(now, found))
        return KeepWaiting(min(now + self._pause(now, found), self.plan.deadline), self._last_problem)

    def _is_too_new(self, now: float, found: QwenImageError) -> bool:
        plan = self.plan
        return isinstance(found, NotFoundError) and may_be_unknown(plan.submitted_at, now, plan.estimated_time)

    def _pause(self, now: float, found: Generation | QwenImageError) -> float:
        age, fixed = max(0.0, now - self.plan.submitted_at), self.plan.poll_interval
        if isinstance(found, Generation):
            self._failures, self._last_problem = 0, None
            return self._spread(fixed * 0.8, fixed * 1.2) if fixed else self._next_poll(age, KEENNESS) - age
        self._failures, self._last_problem = self._failures + 1, found
        interval = fixed or max(age * FIRST_BACKOFF, SHORTEST_INTERVAL)
        backoff = min(interval * 2 ** min(self._failures - 1, 10), max(LONGEST_BACKOFF, interval))
        return max(self._spread(backoff * 0.5, backoff), found.retry_after or 0.0)

    def _next_poll(self, age: float, keenness: tuple[float, float]) -> float:
        self._experience = self._experience or Experience()
        longest = max(LONGEST_INTERVAL, (self._estimate or 0.0) - age)
        latest = age + self._spread(longest * 0.8, longest)
        best = self._experience.next_poll(age, self._estimate, keenness=self._spread(*keenness), latest=latest)
        return max(best, age + SHORTEST_INTERVAL)

    def _learn(self, age: float, status: GenerationStatus) -> None:
        since, self._processing_at = self._processing_at, age
        if self._experience is None or not self._teaches or since is None or not since < age:
            return
        if status is GenerationStatus.COMPLETED:
            self._experience.completed(since, age, self._estimate)
        elif status is GenerationStatus.PROCESSING:
            self._experience.processing(since, age, self._estimate)

    def _timed_out(self, now: float, found: Generation | QwenImageError) -> GenerationTimeoutError:
        what = "it is still processing" if isinstance(found, Generation) else f"the last poll failed: {found.message}"
        plan = self.plan
        return timed_out(plan.generation_id, max(0.0, now - plan.submitted_at), what)


def may_be_unknown(submitted_at: float, now: float, estimated_time: float | None = None) -> bool:
    """Tell whether a generation is so new that "not found" does not mean that it is lost.

    :param submitted_at: when it was submitted, or waited for first, epoch seconds.
    :param now: epoch seconds.
    :param estimated_time: the service's estimate, seconds from submission.
    """
    return now < submitted_at + max(estimated_time or 0.0, NOT_FOUND_GRACE)


def failed(generation_id: str) -> GenerationFailedError:
    """Return the error for a generation that ended in failure; the service tells no reason."""
    return GenerationFailedError(
        f"Generation {generation_id} failed at the service, which gives no reason.", generation_id=generation_id
    )


def timed_out(generation_id: str, waited: float, what: str) -> GenerationTimeoutError:
    """Return the error for a wait of ``waited`` seconds that is over."""
    return GenerationTimeoutError(
        f"Stopped waiting for generation {generation_id} after {waited:.0f} s: {what}.", generation_id=generation_id
    )


def about(error: QwenImageError, generation_id: str) -> QwenImageError:
    """Say in an error that a wait ended in which generation it is about, and that this one is paid for."""
    error.generation_id = error.generation_id or generation_id
    if isinstance(error, (AuthenticationError, InvalidSettingsError)):
        what = "the API key in" if isinstance(error, AuthenticationError) else "what is wrong with"
        error.money = f"Generation {printable(generation_id)} is bought already, and goes on at the service."
        error.advice = (
            f"Check {what} the Airflow connection. Waiting for this generation again costs "
            "nothing (a QwenImageTaskSensor does); a Clear of the task that submitted it buys another one."
        )
    return error
