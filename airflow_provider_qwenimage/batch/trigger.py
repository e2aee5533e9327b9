"""The wait for a whole wave of generations in the triggerer. Only reads: nothing is bought from here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.late_imports import load
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from airflow_provider_qwenimage.api.errors import QwenImageError
    from airflow_provider_qwenimage.api.waiting import Plan
    from airflow_provider_qwenimage.async_wait import Poller

STATUSES = ("done", "error")


def summary_of(event: Any) -> str:
    """Return what the trigger's event says, in words.

    :raises ValueError: it is none of ours; an unknown event must never pass for success.
    """
    if not isinstance(event, dict) or event.get("status") not in STATUSES or not isinstance(event.get("message"), str):
        raise ValueError(f"The trigger sent an event that is not understood: {str(event)[:200]}")
    return f"{event['status']}. {event['message']}"


class QwenImageBatchTrigger(BaseTrigger):
    """Waits for several generations and fires one event when each has ended, one way or another.

    What became of them the worker asks again. The arguments are plain numbers and texts, never the API key.

    :param generations: a list of id, time of submission (epoch seconds), deadline (epoch seconds) and estimate
        (seconds from submission, or None) for each.
    :param qwenimage_conn_id: id of the connection; looked up off the event loop, and again when the key is refused.
    :param poll_interval: fixed seconds between polls of a generation; None for intervals that follow the estimate.
    :param least_seconds: no poll, and so no event, before the trigger has run for so long in its triggerer.
    """

    def __init__(
        self,
        generations: Sequence[Sequence[Any]],
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float | None = None,
        least_seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self.generations = generations
        self.qwenimage_conn_id = qwenimage_conn_id
        self.poll_interval = poll_interval
        self.least_seconds = least_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, as Airflow stores them."""
        arguments = ("generations", "qwenimage_conn_id", "poll_interval", "least_seconds")
        path = "airflow_provider_qwenimage.batch.trigger.QwenImageBatchTrigger"
        return path, {name: getattr(self, name) for name in arguments}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire the event: ``status`` and ``message``."""
        try:
            ended = await self._wait()
        except Exception as error:  # an exception that left run() would fail the task without a word of ours
            self.log.warning("Waiting for %d generations can't go on here", len(self.generations), exc_info=True)
            yield TriggerEvent({"status": "error", "message": f"{type(error).__name__}: see the triggerer's log"})
            return
        message = f"{sum(ended)} of {len(ended)} generations are completed"
        yield TriggerEvent({"status": "done", "message": message})

    async def on_kill(self) -> None:
        """Say what becomes of the generations when a user ends the task. Airflow 3.3 and later call this."""
        from airflow_provider_qwenimage.batch.report import goes_on

        self.log.warning("Stopped waiting. %s", goes_on(len(self.generations)))

    async def _wait(self) -> list[bool]:
        await load()
        from airflow_provider_qwenimage.async_wait import Poller
        from airflow_provider_qwenimage.clients import Asker
        from airflow_provider_qwenimage.sessions import shared_session

        async with shared_session() as session:
            poller = Poller(Asker(self.qwenimage_conn_id, session), self.qwenimage_conn_id, self._tell_of_poll)
            waits = [asyncio.create_task(_is_completed(poller, plan)) for plan in self._plans()]
            try:
                return list(await asyncio.gather(*waits))
            finally:
                for wait in waits:  # where one can't go on, none must be left behind
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)

    def _plans(self) -> list[Plan]:
        from airflow_provider_qwenimage.api.waiting import Plan

        not_before = time.time() + self.least_seconds
        return [
            Plan(generation_id, submitted_at, deadline, estimate, self.poll_interval, not_before)
            for generation_id, submitted_at, deadline, estimate in self.generations
        ]

    def _tell_of_poll(self, plan: Plan, problem: QwenImageError) -> None:
        told = printable(plan.generation_id), printable(problem.message)
        self.log.warning("Polling generation %s failed, waiting on: %s", *told)


async def _is_completed(poller: Poller, plan: Plan) -> bool:
    from airflow_provider_qwenimage.api.models import Generation

    return isinstance(await poller.wait(plan), Generation)
