"""The wait in the triggerer. Only reads: a trigger may be started again or twice, so nothing is bought from here."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.late_imports import load
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from airflow_provider_qwenimage.api.errors import QwenImageError
    from airflow_provider_qwenimage.api.waiting import Plan
    from airflow_provider_qwenimage.async_wait import Answer

STATUSES = ("success", "failed", "timeout", "error")
_PLAN = ("generation_id", "submitted_at", "deadline", "estimated_time", "poll_interval", "not_before")


@dataclass(frozen=True)
class WaitEvent:
    """What the trigger tells the worker. Airflow logs it whole: it holds no URL and no secret.

    :param status: ``success``, ``failed`` (the service said so), ``timeout``, or ``error`` (the wait could not go on).
    :param generation_id: what was waited for.
    :param reason: name of the error's class; empty on success.
    :param message: what happened, in words; empty on success.
    :param submitted_at: start of the wait, epoch seconds.
    :param deadline: end of the wait, epoch seconds.
    :param resume: what the task gave the trigger to go on with.
    """

    status: str
    generation_id: str
    reason: str
    message: str
    submitted_at: float
    deadline: float
    resume: dict[str, Any] | None = None

    @property
    def summary(self) -> str:
        """The outcome in words."""
        return f"{self.status}. {self.message}" if self.message else self.status

    @classmethod
    def read(cls, event: Any) -> WaitEvent:
        """Return the event that Airflow hands to a resumed task.

        :raises ValueError: it is none of ours; an unknown event must never pass for success.
        """
        try:
            found = cls(**event)
            known = found.status in STATUSES and isinstance(found.generation_id, str)
            known = known and all(isinstance(when, (int, float)) for when in (found.submitted_at, found.deadline))
            known = known and isinstance(found.resume, (dict, type(None)))
        except TypeError:
            known = False
        if not known:
            raise ValueError(f"The trigger sent an event that is not understood: {str(event)[:200]}")
        return found


class QwenImageTaskTrigger(BaseTrigger):
    """Waits for one generation and fires one event. Its arguments are plain numbers and texts, never the API key.

    :param generation_id: what to wait for.
    :param submitted_at: when it was submitted, epoch seconds.
    :param deadline: when to give up, epoch seconds; a move to another triggerer keeps it.
    :param qwenimage_conn_id: id of the connection; looked up off the event loop, by one trigger for all that ask.
    :param estimated_time: the service's estimate, seconds from submission.
    :param poll_interval: fixed seconds between polls; None to poll where generations tend to end.
    :param not_before: no poll, and so no event, before this time, epoch seconds.
    :param resume: handed back in the event; Airflow stores it in plain JSON, so no secrets.
    :param least_seconds: no poll, and so no event, before the trigger has run for so long in its triggerer: on a busy
        machine, a task may be deferred long after its trigger was made.
    """

    def __init__(
        self,
        generation_id: str,
        submitted_at: float,
        deadline: float,
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        estimated_time: float | None = None,
        poll_interval: float | None = None,
        not_before: float = 0.0,
        resume: dict[str, Any] | None = None,
        least_seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self.generation_id = generation_id
        self.submitted_at = submitted_at
        self.deadline = deadline
        self.qwenimage_conn_id = qwenimage_conn_id
        self.estimated_time = estimated_time
        self.poll_interval = poll_interval
        self.not_before = not_before
        self.resume = resume
        self.least_seconds = least_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, as Airflow stores them."""
        arguments = {name: getattr(self, name) for name in (*_PLAN, "qwenimage_conn_id", "resume", "least_seconds")}
        return "airflow_provider_qwenimage.triggers.QwenImageTaskTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then fire the event; see ``WaitEvent``."""
        yield TriggerEvent(await self._wait())

    async def on_kill(self) -> None:
        """Say what becomes of the generation when a user ends the task. Airflow 3.3 and later call this."""
        self.log.warning(
            "Stopped waiting: there is no cancel, generation %s goes on at the service and may be charged",
            printable(self.generation_id),
        )

    async def _wait(self) -> dict[str, Any]:
        try:
            found = await self._poll()
        except Exception as error:  # an exception that left run() would fail the task without a word of ours
            self.log.warning("Waiting for generation %s can't go on here", printable(self.generation_id), exc_info=True)
            return self._event("error", type(error).__name__, "see the triggerer's log")
        return self._outcome(found)

    async def _poll(self) -> Answer:
        await load()
        from airflow_provider_qwenimage.api.waiting import Plan
        from airflow_provider_qwenimage.async_wait import Poller
        from airflow_provider_qwenimage.clients import Asker
        from airflow_provider_qwenimage.sessions import shared_session

        plan = Plan(**{name: getattr(self, name) for name in _PLAN})
        plan = replace(plan, not_before=max(plan.not_before, time.time() + self.least_seconds))
        async with shared_session() as session:
            asker = Asker(self.qwenimage_conn_id, session)
            return await Poller(asker, self.qwenimage_conn_id, self._tell_of_poll).wait(plan)

    def _tell_of_poll(self, plan: Plan, problem: QwenImageError) -> None:
        self.log.warning("Poll failed, waiting on: %s", problem.message)

    def _outcome(self, found: Answer) -> dict[str, Any]:
        from airflow_provider_qwenimage.api.errors import GenerationTimeoutError, QwenImageError

        if not isinstance(found, QwenImageError):
            return self._event("success")
        status = "timeout" if isinstance(found, GenerationTimeoutError) else "failed"
        return self._event(status, type(found).__name__, found.message)

    def _event(self, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
        return {
            "status": status,
            "generation_id": self.generation_id,
            "reason": reason,
            "message": message[:500],
            "submitted_at": self.submitted_at,
            "deadline": self.deadline,
            "resume": self.resume,
        }
