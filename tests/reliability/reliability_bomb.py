"""Reads one hostile answer in a process of its own: prints the error's class and by how many KB memory has grown."""

from __future__ import annotations

import asyncio
import io
import resource
import sys

import aiohttp

from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient
from airflow_provider_qwenimage.api.async_download import AsyncDownloader
from airflow_provider_qwenimage.api.client import QwenImageClient
from airflow_provider_qwenimage.api.download import Downloader
from airflow_provider_qwenimage.api.errors import QwenImageError
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.api.settings import Settings


async def load(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        await AsyncDownloader(retries=NO_RETRIES, max_bytes=20_000_000).fetch(session, url, io.BytesIO())


async def ask(settings: Settings) -> None:
    async with aiohttp.ClientSession() as session:
        await AsyncQwenImageClient(settings, retries=NO_RETRIES).get_credits(session)


if __name__ == "__main__":
    who, url = sys.argv[1:]
    settings = Settings("key", url)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        if who == "image":
            Downloader(retries=NO_RETRIES, max_bytes=20_000_000).fetch(url, io.BytesIO())
        elif who == "image-in-loop":
            asyncio.run(load(url))
        elif who == "worker":
            QwenImageClient(settings, retries=NO_RETRIES).get_credits()
        else:
            asyncio.run(ask(settings))
    except QwenImageError as error:
        print(type(error).__name__, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
