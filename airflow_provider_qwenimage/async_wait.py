"""The wait in an event loop: polls and sleeps as ``api.waiting`` says. Only reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient
from airflow_provider_qwenimage.api.errors import QwenImageError
from airflow_provider_qwenimage.api.experience import experience_with
from airflow_provider_qwenimage.api.models import Generation
from airflow_provider_qwenimage.api.waiting import Decision, GiveUp, KeepWaiting, Plan, Waiting

Answer = Generation | QwenImageError


@dataclass(frozen=True)
class Poller:
    """Waits for generations.

    :param ask: returns how far a generation is, or the error that the question ended in; the wait itself bears with
        failed polls. What it raises ends the wait.
    :param scope: whatever tells accounts apart in this process; waits of one scope learn from each other.
    :param on_problem: is told of polls that failed, and the plan of the wait.
    """

    ask: Callable[[str], Awaitable[Answer]]
    scope: str
    on_problem: Callable[[Plan, QwenImageError], None]

    async def wait(self, plan: Plan) -> Answer:
        """Poll until the wait is over; return the completed generation, or why there is none."""
        waiting = Waiting(plan, experience=experience_with(self.scope))
        decision: Decision = waiting.start(time.time())
        while isinstance(decision, KeepWaiting):
            if decision.problem:
                metrics.count("poll_error")
                self.on_problem(plan, decision.problem)
            await asyncio.sleep(max(0.0, decision.until - time.time()))
            decision = waiting.after(time.time(), await self.ask(plan.generation_id))
        return decision.error if isinstance(decision, GiveUp) else decision.generation


async def ask(client: AsyncQwenImageClient, session: aiohttp.ClientSession, generation_id: str) -> Answer:
    """Return how far a generation is, or the error that the question ended in.

    :param client: makes one attempt a call.
    :param session: of the running loop.
    """
    try:
        return await client.get_task(session, generation_id)
    except QwenImageError as error:
        return error
