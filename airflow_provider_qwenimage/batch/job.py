"""The pipeline with all that it needs, in an event loop of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_qwenimage._compat import object_storage_path
from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient
from airflow_provider_qwenimage.api.async_download import AsyncDownloader
from airflow_provider_qwenimage.api.async_session import open_session
from airflow_provider_qwenimage.api.client import QwenImageClient
from airflow_provider_qwenimage.api.errors import QwenImageError
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.api.settings import Settings
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.api.waiting import Plan
from airflow_provider_qwenimage.async_wait import Poller, ask
from airflow_provider_qwenimage.batch.buying import Buyer
from airflow_provider_qwenimage.batch.gate import SUBMITS_AT_ONCE, Gate
from airflow_provider_qwenimage.batch.index import Index, Verdict
from airflow_provider_qwenimage.batch.ledger import Ledger
from airflow_provider_qwenimage.batch.pipeline import Limits, Pipeline, told_until_done
from airflow_provider_qwenimage.batch.progress import Progress
from airflow_provider_qwenimage.batch.resuming import Rules, judge
from airflow_provider_qwenimage.batch.running import LoopThread
from airflow_provider_qwenimage.batch.saving import AT_ONCE, THREADS, Saver
from airflow_provider_qwenimage.saving.images import Delivery
from airflow_provider_qwenimage.saving.storage import filesystem_of

Steps = Callable[[Pipeline], Awaitable[None]]


@dataclass(frozen=True)
class Job:
    """What a run of the pipeline needs. Made where connections may be looked up: in the main thread.

    :param settings: of the connection.
    :param public_only: whether images at private addresses are refused.
    :param delivery: where images go; the file system is looked up by now.
    :param thread: runs the pipeline, once; to be stopped from outside.
    """

    index: Index
    ledger: Ledger
    settings: Settings
    public_only: bool
    delivery: Delivery
    limits: Limits
    rules: Rules
    max_upload_bytes: int
    log: Any
    thread: LoopThread[None]

    def plan(self) -> None:
        """Decide for each item what is left to do, by what the ledger says."""
        with self.index.transaction():
            for entry in self.index.leaders():
                found = judge(entry, self.index.word(entry.item.key), self.ledger, self.rules)
                if isinstance(found, Verdict):
                    self.index.settle(entry, found)
                else:
                    self.index.plan(entry, found)

    def in_flight(self) -> list[Plan]:
        """Return the waits for what is bought and not saved."""
        return [self.limits.plan(word) for word in self.index.waiting()]

    async def waves(self, pipeline: Pipeline, shortest: float, *, resumed: bool) -> None:
        """Submit a wave and leave it in flight; a wave that should have ended soon is finished here.

        :param shortest: seconds below which a wait is not worth a deferral.
        :param resumed: whether the triggerer has just waited for a wave.
        """
        if resumed:
            await pipeline.finish()
        while True:
            await pipeline.fill()
            soon = time.time() + shortest
            plans = self.in_flight()
            if not plans or any(_expected_end(plan) > soon for plan in plans):
                return
            await pipeline.finish()

    def run(self, steps: Steps) -> None:
        """Take these steps of the pipeline, in an event loop of its own.

        :raises Stopped: the task is to end.
        """
        client = AsyncQwenImageClient(self.settings, retries=NO_RETRIES)
        filesystem = filesystem_of(self.delivery.folder)
        self._look_file_systems_up()
        with ThreadPoolExecutor(THREADS, thread_name_prefix="qwenimage-save") as pool:
            self.thread.run(partial(self._run, steps, client, filesystem, pool))

    async def _run(self, steps: Steps, client: AsyncQwenImageClient, filesystem: Any, pool: ThreadPoolExecutor) -> None:
        async with AsyncExitStack() as stack:
            opened = stack.enter_async_context
            polls = await opened(open_session())
            purchases = await opened(open_session(connections=SUBMITS_AT_ONCE, keep=False))
            images = await opened(open_session(connections=AT_ONCE, public_only=self.public_only))
            downloader = AsyncDownloader(public_only=self.public_only)
            saver = Saver(self.delivery, filesystem, downloader, images, pool, asyncio.Semaphore(AT_ONCE))
            gate = Gate(self.limits.timeout)
            buyer = Buyer(
                client,
                purchases,
                self.ledger,
                gate,
                partial(self._uploaded, pool),
                self.rules.resubmit,
                self.limits.latest,
                self.log,
            )
            poller = Poller(partial(ask, client, polls), self.settings.base_url, self._tell_of_poll)
            progress = Progress(self.index, self.rules.good, gate, self.log)
            pipeline = Pipeline(
                self.index, self.ledger, buyer, poller, saver, self.limits, self.rules, progress, self.log
            )
            try:
                await told_until_done(progress, steps(pipeline))
            finally:
                await buyer.last_words()
                await self.ledger.settle()

    async def _uploaded(self, pool: ThreadPoolExecutor, path: str) -> str:
        return await asyncio.get_running_loop().run_in_executor(pool, self._upload, path)

    def _upload(self, path: str) -> str:
        place = object_storage_path(path)
        with place.fs.open(place.path, "rb") as file, QwenImageClient(self.settings) as client:
            return client.upload_image(file, max_bytes=self.max_upload_bytes)

    def _look_file_systems_up(self) -> None:
        """Have Airflow look up the connections of all input images now: it must not be done from a thread."""
        seen = set()
        for path in self.index.images_to_upload():
            place = urlsplit(path)[:2]
            if place not in seen:
                seen.add(place)
                filesystem_of(object_storage_path(path))

    def _tell_of_poll(self, plan: Plan, problem: QwenImageError) -> None:
        told = printable(plan.generation_id), printable(problem.message)
        self.log.warning("Polling generation %s failed, going on: %s", *told)


def _expected_end(plan: Plan) -> float:
    return min(plan.deadline, plan.submitted_at + (plan.estimated_time or inf))
