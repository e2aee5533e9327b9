"""Sends calls with aiohttp: the client of the triggerer. It only reads; nothing is bought from here."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TypeVar

import aiohttp
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from tenacity import AsyncRetrying

from airflow_provider_qwenimage.api import wire
from airflow_provider_qwenimage.api.errors import NotSentError, QwenImageError, ServiceError
from airflow_provider_qwenimage.api.models import Generation
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.settings import Settings

Answer = TypeVar("Answer")


class AsyncQwenImageClient:
    """What a wait needs of the service, without blocking. Proxies and CA bundles as ``requests`` reads them.

    Reads certificates and the environment when it is built: build it off the event loop.

    :param settings: address, key, time-outs.
    :param retries: when a call is sent again.
    :param sleep: waits between attempts, seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        retries: Retries | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self._retrying = AsyncRetrying(**(retries or Retries()).tenacity(), sleep=sleep)
        self._proxy = select_proxy(settings.base_url, get_environ_proxies(settings.base_url))
        self._tls = trusted_certificates() if settings.base_url.startswith("https:") else True
        self._timeout = aiohttp.ClientTimeout(
            total=settings.connect_timeout + settings.read_timeout, sock_connect=settings.connect_timeout
        )

    async def get_task(self, session: aiohttp.ClientSession, generation_id: str) -> Generation:
        """Ask how far a generation is; see ``QwenImageClient.get_task``."""
        return await self._call(session, wire.get(generation_id))

    async def get_credits(self, session: aiohttp.ClientSession) -> float:
        """Ask for the account's balance in credits; see ``QwenImageClient.get_credits``."""
        return await self._call(session, wire.get_credits())

    async def _call(self, session: aiohttp.ClientSession, call: wire.Call[Answer]) -> Answer:
        answer: Answer = await self._retrying(self._send, session, call)
        return answer

    async def _send(self, session: aiohttp.ClientSession, call: wire.Call[Answer]) -> Answer:
        try:
            reply = await self._exchange(session, call)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise _as_error(call, error, self.settings.host) from error
        return wire.read(call, reply)

    async def _exchange(self, session: aiohttp.ClientSession, call: wire.Call[Answer]) -> wire.Reply:
        async with session.post(
            self.settings.url(call.path),
            data=call.content(),
            headers=self.settings.headers(),
            timeout=self._timeout,
            allow_redirects=False,  # a redirect would carry the key to another place
            proxy=self._proxy,
            ssl=self._tls,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > wire.MAX_REPLY_BYTES:
                    break
            return wire.Reply(
                response.status, bytes(body[: wire.MAX_REPLY_BYTES + 1]), response.headers.get("Retry-After")
            )


@lru_cache(maxsize=1)
def trusted_certificates() -> ssl.SSLContext:
    """Return a TLS context of the certificates that ``requests`` trusts; once per process, for it costs some 20 ms."""
    place = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
    is_folder = os.path.isdir(place)
    return ssl.create_default_context(cafile=None if is_folder else place, capath=place if is_folder else None)


def _as_error(call: wire.Call[Answer], error: BaseException, host: str) -> QwenImageError:
    if isinstance(error, aiohttp.ClientConnectorError):
        return NotSentError(
            f"Could not connect to {host} for the {call.name}: {error.os_error.strerror or 'no reason given'}."
        )
    what = "timed out" if isinstance(error, asyncio.TimeoutError) else "was lost"
    return ServiceError(f"The answer of {host} to the {call.name} {what}.")
