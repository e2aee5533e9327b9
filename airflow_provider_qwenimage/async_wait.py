"""The wait in an event loop: polls and sleeps as ``api.waiting`` says. Only reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient
from airflow_provider_qwenimage.api.errors import QwenImageError
from airflow_provider_qwenimage.api.experience import experience_with
from airflow_provider_qwenimage.api.models import Generation
from airflow_provider_qwenimage.api.waiting import Decision, GiveUp, KeepWaiting, Plan, Waiting


@dataclass(frozen=True)
class Poller:
    """Asks for generations.

    :param client: makes one attempt a call; the wait itself bears with failures.
    :param session: of the running loop.
    :param on_problem: is told of polls that failed, and the plan of the wait.
    """

    client: AsyncQwenImageClient
    session: aiohttp.ClientSession
    on_problem: Callable[[Plan, QwenImageError], None]

    async def wait(self, plan: Plan) -> Generation:
        """Poll until the generation is completed.

        :raises QwenImageError: the wait is over without images; see ``api.waiting``.
        """
        waiting = Waiting(plan, experience=experience_with(self.client.settings.base_url))
        decision: Decision = waiting.start(time.time())
        while isinstance(decision, KeepWaiting):
            if decision.problem:
                metrics.count("poll_error")
                self.on_problem(plan, decision.problem)
            await asyncio.sleep(max(0.0, decision.until - time.time()))
            decision = waiting.after(time.time(), await self.ask(plan.generation_id))
        if isinstance(decision, GiveUp):
            raise decision.error
        return decision.generation

    async def ask(self, generation_id: str) -> Generation | QwenImageError:
        """Return how far a generation is, or the error that the question ended in."""
        try:
            return await self.client.get_task(self.session, generation_id)
        except QwenImageError as error:
            return error
