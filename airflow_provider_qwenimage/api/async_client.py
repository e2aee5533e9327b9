"""Sends calls with aiohttp: the client of the triggerer. It only reads; nothing is bought from here."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import TypeVar

import aiohttp
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from tenacity import AsyncRetrying

from airflow_provider_qwenimage.api import wire
from airflow_provider_qwenimage.api.errors import InvalidSettingsError, NotSentError, QwenImageError, ServiceError
from airflow_provider_qwenimage.api.models import Generation
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.rules import is_http_url
from airflow_provider_qwenimage.api.settings import Settings, ca_bundle, check_certificates, is_https

Answer = TypeVar("Answer")


class AsyncQwenImageClient:
    """What a wait needs of the service, without blocking. Proxies and CA bundles as ``requests`` reads them.

    Reads certificates and the environment when it is built: build it off the event loop.

    :param settings: address, key, time-outs.
    :param retries: when a call is sent again.
    :param sleep: waits between attempts, seconds.
    :raises InvalidSettingsError: the environment names a proxy or CA bundle that can't be used.
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
        check_certificates(settings.base_url)
        self._proxy = _proxy(settings.base_url)
        self._tls = trusted_certificates() if is_https(settings.base_url) else True
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
            cut, retry_after = bytes(body[: wire.MAX_REPLY_BYTES + 1]), response.headers.get("Retry-After")
            return wire.Reply(response.status, cut, retry_after, self.settings.api_key)


def _proxy(url: str) -> str | None:
    proxy = select_proxy(url, get_environ_proxies(url))
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not is_http_url(proxy):  # it may hold a password, so it is not shown
        raise InvalidSettingsError("The proxy that the environment names is no http:// or https:// URL.")
    return proxy


@lru_cache(maxsize=1)
def trusted_certificates() -> ssl.SSLContext:
    """Return a TLS context of the certificates that ``requests`` trusts; once per process, for it costs some 20 ms."""
    place = ca_bundle() or DEFAULT_CA_BUNDLE_PATH
    is_folder = os.path.isdir(place)
    return ssl.create_default_context(cafile=None if is_folder else place, capath=place if is_folder else None)


def _as_error(call: wire.Call[Answer], error: BaseException, host: str) -> QwenImageError:
    if isinstance(error, _NEVER_SENT):
        return NotSentError(f"Could not connect to {host} for the {call.name}: {_reason(error)}.")
    what = "timed out" if isinstance(error, asyncio.TimeoutError) else "was lost"
    return ServiceError(f"The answer of {host} to the {call.name} {what}.")


_NEVER_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)


def _reason(error: BaseException) -> str:
    """Name the cause in the words of the worker's client; the libraries' own hold addresses and layers."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        return "the proxy can't be reached or refused"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.InvalidURL):
        return "its address, or the proxy's, can't be used"
    unresolved = isinstance(getattr(error, "os_error", None), socket.gaierror)
    return "the name can't be resolved" if unresolved else "connection refused or unreachable"
