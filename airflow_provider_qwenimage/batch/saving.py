"""Saves the images of one generation while others are waited for."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import aiohttp

from airflow_provider_qwenimage.api.async_download import AsyncDownloader
from airflow_provider_qwenimage.api.downloading import Downloaded
from airflow_provider_qwenimage.saving.images import Delivery, put_in_place
from airflow_provider_qwenimage.saving.names import file_safe

AT_ONCE = 16
THREADS = 8


@dataclass(frozen=True)
class Saver:
    """Fetches, checks and stores images, ``AT_ONCE`` at a time.

    :param delivery: where they go; made another one's for each generation.
    :param filesystem: the folder's, looked up before.
    :param downloader: fetches them.
    :param session: of an event loop; if private addresses are refused, it refuses them.
    :param pool: threads to store from.
    :param room: bounds how many are under way.
    """

    delivery: Delivery
    filesystem: Any
    downloader: AsyncDownloader
    session: aiohttp.ClientSession
    pool: ThreadPoolExecutor
    room: asyncio.Semaphore

    async def save(
        self, name: str, generation_id: str, urls: Sequence[str], facts: Mapping[str, Any]
    ) -> tuple[list[dict[str, Any]], list[Exception]]:
        """Save all images; one that fails does not stop the others.

        :param name: fills ``{key}`` in file names.
        :return: the records of those that were saved, in order, and the errors of the others.
        """
        delivery = replace(self.delivery, generation_id=file_safe(generation_id), key=name, facts=facts)
        outcomes = await asyncio.gather(
            *(self._save(url, index, delivery) for index, url in enumerate(urls)), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
                raise outcome
        records = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        return records, [outcome for outcome in outcomes if isinstance(outcome, Exception)]

    async def _save(self, url: str, index: int, delivery: Delivery) -> dict[str, Any]:
        async with self.room:
            scratch = tempfile.mkdtemp(prefix="qwenimage-")
            image = os.path.join(scratch, "image")
            run = partial(asyncio.get_running_loop().run_in_executor, self.pool)
            try:
                with open(image, "w+b") as file:  # noqa: ASYNC230 - local, and small pieces
                    found = await self.downloader.fetch(self.session, url, file)
            except BaseException:
                run(shutil.rmtree, scratch, True)  # a disk may be slow: never in the loop
                raise
            return await run(self._put, scratch, found, (url, index), delivery)

    def _put(self, scratch: str, found: Downloaded, which: tuple[str, int], delivery: Delivery) -> dict[str, Any]:
        try:
            return put_in_place(os.path.join(scratch, "image"), found, which, delivery, self.filesystem, [])
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
