"""Fetches a result image as ``download`` does, without blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import aiohttp
from tenacity import AsyncRetrying
from yarl import URL

from airflow_provider_qwenimage.api import downloading
from airflow_provider_qwenimage.api.async_session import PublicConnector, open_session
from airflow_provider_qwenimage.api.async_surroundings import proxy_for, trusted_certificates
from airflow_provider_qwenimage.api.downloading import MAX_BYTES, Downloaded
from airflow_provider_qwenimage.api.hosts import check_public
from airflow_provider_qwenimage.api.images import inspect
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.settings import check_certificates, is_https

SOON_INSPECTED = 1024 * 1024  # bytes: a checksum of so many takes a millisecond at most, about as long as a thread


class AsyncDownloader:
    """Fetches images, many at a time; see ``Downloader``. Proxies are read from the environment once for each host.

    :param retries: when a download is tried again.
    :param timeout: seconds until a connection must stand, and between two pieces of the body.
    :param time_limit: seconds that one download may take.
    :param max_bytes: longest body that is accepted.
    :param public_only: whether URLs that lead to a private or loopback address are refused.
    :param sleep: waits between attempts, seconds.
    """

    def __init__(
        self,
        *,
        retries: Retries | None = None,
        timeout: float = 30.0,
        time_limit: float = 600.0,
        max_bytes: int = MAX_BYTES,
        public_only: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._timeout = timeout
        self._time_limit = time_limit
        self._max_bytes = max_bytes
        self._public_only = public_only
        self._proxies: dict[tuple[str, str], str | None] = {}
        self._retrying = AsyncRetrying(**downloading.policy(retries), sleep=sleep)

    async def fetch(self, session: aiohttp.ClientSession, url: str, file: BinaryIO) -> Downloaded:
        """Write the image behind ``url`` to ``file`` and check that it is whole; raises what ``Downloader`` does.

        :param session: if private addresses are refused, it is used only if it was opened so
            (``open_session(public_only=True)``); beside any other, one of its own is opened for the call.
        :param url: used unchanged, its query string included.
        :param file: a local file, open for reading and writing in binary; whatever it holds is replaced.
        """
        downloading.check_url(url)
        async with self._connections(session) as fit:
            downloaded: Downloaded = await self._retrying(self._fetch_once, fit, url, file)
        return downloaded

    @asynccontextmanager
    async def _connections(self, session: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientSession]:
        if not self._public_only or isinstance(session.connector, PublicConnector):
            yield session
            return
        async with open_session(keep=False, public_only=True) as own:
            yield own

    async def _fetch_once(self, session: aiohttp.ClientSession, url: str, file: BinaryIO) -> Downloaded:
        target = downloading.Target(file, url, self._max_bytes)
        until = asyncio.get_running_loop().time() + self._time_limit
        async with AsyncExitStack() as stack:
            answer = await self._follow(stack, session, url, until)
            downloading.check_status(answer.status, answer.headers.get("Retry-After"), url)
            async for piece in _pieces(answer, url):
                target.take(piece)
        file.flush()
        facts = inspect(file) if target.length <= SOON_INSPECTED else await _in_thread(inspect, file)
        return Downloaded(facts, target.length, target.sha256)

    async def _follow(
        self, stack: AsyncExitStack, session: aiohttp.ClientSession, url: str, until: float
    ) -> aiohttp.ClientResponse:
        """Get the URL, and where it redirects to; each address is judged before it is called."""
        hops = downloading.Hops(url)
        while True:
            if self._public_only:
                await _in_thread(check_public, hops.url)
            request = await self._get(session, hops.url, until)
            with _errors(url):
                response: aiohttp.ClientResponse = await stack.enter_async_context(request)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or location is None:
                return response
            response.close()  # its body may have no end
            hops.follow(location.encode("utf-8", "surrogateescape"))

    async def _get(self, session: aiohttp.ClientSession, url: str, until: float) -> Any:
        check_certificates(url)
        left = max(until - asyncio.get_running_loop().time(), 0.001)
        return session.get(
            URL(url, encoded=url.isascii()),  # a signature may cover the escapes as they are
            timeout=aiohttp.ClientTimeout(total=left, connect=self._timeout, sock_read=self._timeout),
            allow_redirects=False,
            proxy=self._proxy(url),
            ssl=await _in_thread(trusted_certificates) if is_https(url) else True,
        )

    def _proxy(self, url: str) -> str | None:
        """Look the proxy up once for each host: reading the whole environment takes longer than a small download."""
        parts = urlsplit(url)
        place = parts.scheme, parts.netloc
        if place not in self._proxies:
            self._proxies[place] = proxy_for(url)
        return self._proxies[place]


async def _pieces(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; errors of whoever takes the pieces are not touched."""
    with _errors(url):
        async for piece in response.content.iter_any():
            yield piece


@contextmanager
def _errors(url: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        reason = "no answer in time" if isinstance(error, asyncio.TimeoutError) else "the connection failed or broke"
        raise downloading.failed(url, reason) from error


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
