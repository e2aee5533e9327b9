"""The wait on a worker: polls and sleeps as ``api.waiting`` says."""

from __future__ import annotations

import time
from logging import Logger
from threading import Event
from typing import Any

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage.api.client import QwenImageClient
from airflow_provider_qwenimage.api.errors import QwenImageError
from airflow_provider_qwenimage.api.experience import experience_with
from airflow_provider_qwenimage.api.models import Generation
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.api.settings import Settings
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.api.waiting import Decision, GiveUp, KeepWaiting, Plan, Waiting, timed_out

SECONDS_BETWEEN_LINES = 60.0


def wait(settings: Settings, plan: Plan, stop: Event, log: Logger | Any) -> Generation:
    """Poll until the generation is completed.

    :param stop: ends the wait at once when it is set.
    :raises QwenImageError: the wait is over without images; see ``api.waiting``.
    """
    waiting = Waiting(plan, experience=experience_with(settings.base_url))
    progress = _Progress(plan, log)
    decision: Decision = waiting.start(time.time())
    with QwenImageClient(settings, retries=NO_RETRIES) as client:
        while isinstance(decision, KeepWaiting):
            if decision.problem:
                metrics.count("poll_error")
                log.warning(
                    "Polling generation %s failed, going on: %s",
                    printable(plan.generation_id),
                    decision.problem.message,
                )
            progress.tell(time.time())
            if stop.wait(max(0.0, decision.until - time.time())):
                raise timed_out(plan.generation_id, time.time() - plan.submitted_at, "the task was stopped")
            decision = waiting.after(time.time(), poll(client, plan.generation_id))
    if isinstance(decision, GiveUp):
        raise decision.error
    return decision.generation


class _Progress:
    """Says now and then how long the wait has taken: a line a minute, not one a poll."""

    def __init__(self, plan: Plan, log: Logger | Any) -> None:
        self._plan = plan
        self._log = log
        self._next = 0.0

    def tell(self, now: float) -> None:
        if now < self._next:
            return
        self._next = now + SECONDS_BETWEEN_LINES
        plan = self._plan
        told = "no estimate" if plan.estimated_time is None else f"estimated {plan.estimated_time:.0f} s"
        waited = now - plan.submitted_at
        self._log.info("Waiting for generation %s: %.0f s so far, %s", printable(plan.generation_id), waited, told)


def poll(client: QwenImageClient, generation_id: str) -> Generation | QwenImageError:
    """Return how far the generation is, or the error that the question ended in."""
    try:
        return client.get_task(generation_id)
    except QwenImageError as error:
        return error
