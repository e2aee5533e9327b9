"""Saves the images of one generation while others are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from airflow_provider_qwenimage.api.async_download import AsyncDownloader
from airflow_provider_qwenimage.api.downloading import Downloaded
from airflow_provider_qwenimage.saving.images import Delivery, put_in_place
from airflow_provider_qwenimage.saving.names import file_safe
from airflow_provider_qwenimage.saving.scratch import scratch

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
            with scratch() as file:

                def put(found: Downloaded) -> dict[str, Any]:
                    return put_in_place(file, found, (url, index), delivery, self.filesystem, [])

                return await self.downloader.fetch_for(self.session, url, file, put, self.pool)
