"""Fetches a result image as ``download`` does, without blocking the event loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, BinaryIO, TypeVar

import aiohttp
from tenacity import AsyncRetrying
from yarl import URL

from airflow_provider_qwenimage.api import downloading
from airflow_provider_qwenimage.api.async_body import STILL_PACKED, pieces
from airflow_provider_qwenimage.api.async_session import PublicConnector, open_session
from airflow_provider_qwenimage.api.async_surroundings import proxy_for, trusted_certificates
from airflow_provider_qwenimage.api.decoding import AS_IT_IS
from airflow_provider_qwenimage.api.downloading import MAX_BYTES, Downloaded
from airflow_provider_qwenimage.api.errors import ImageError
from airflow_provider_qwenimage.api.hosts import check_public
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.settings import check_certificates, is_https

Result = TypeVar("Result")
Route = tuple["str | None", "ssl.SSLContext | bool"]  # a proxy, and whose certificates are trusted

HELD = 512 * 1024  # bytes; an image that is shorter is written, hashed and checked in one visit to a thread


class AsyncDownloader:
    """Fetches images, many at a time; see ``Downloader``. The environment is read once for each host.

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
        self._routes: dict[tuple[str, str], Route] = {}
        self._retrying = AsyncRetrying(**downloading.policy(retries), sleep=sleep)

    async def fetch(self, session: aiohttp.ClientSession, url: str, file: BinaryIO) -> Downloaded:
        """Write the image behind ``url`` to ``file`` and check that it is whole; raises what ``Downloader`` does.

        :param session: if private addresses are refused, it is used only if it was opened so
            (``open_session(public_only=True)``); beside any other, one of its own is opened for the call.
        :param url: used unchanged, its query string included.
        :param file: a local file, open for reading and writing in binary; whatever it holds is replaced.
        """
        return await self.fetch_for(session, url, file, _as_it_is)

    async def fetch_for(
        self,
        session: aiohttp.ClientSession,
        url: str,
        file: BinaryIO,
        use: Callable[[Downloaded], Result],
        pool: Executor | None = None,
    ) -> Result:
        """Fetch an image and use it, in the thread that has checked it: each way to a thread and back costs time.

        :param use: is called with what was fetched; its result is returned.
        :param pool: threads that write, check and use; None for the event loop's own.
        """
        downloading.check_url(url)
        async with self._connections(session) as fit:
            attempt = partial(self._fetch_once, fit, url, file, use, pool)
            try:
                return await attempt()
            except ImageError as error:  # most downloads end above, and need no machinery for retries
                first = [error]

            async def again() -> Result:
                if first:
                    raise first.pop()
                return await attempt()

            result: Result = await self._retrying(again)
            return result

    @asynccontextmanager
    async def _connections(self, session: aiohttp.ClientSession) -> AsyncIterator[aiohttp.ClientSession]:
        if not self._public_only or isinstance(session.connector, PublicConnector):
            yield session
            return
        async with open_session(keep=False, public_only=True) as own:
            yield own

    async def _fetch_once(
        self,
        session: aiohttp.ClientSession,
        url: str,
        file: BinaryIO,
        use: Callable[[Downloaded], Result],
        pool: Executor | None,
    ) -> Result:
        target = downloading.Target(file, url, self._max_bytes)
        until = asyncio.get_running_loop().time() + self._time_limit
        held: list[bytes] = []
        async with await self._follow(session, url, until) as answer:
            downloading.check_status(answer.status, answer.headers.get("Retry-After"), url)
            async for piece in _pieces(answer, url):
                target.count(piece)
                held.append(piece)
                if target.length > HELD:  # each piece takes less time than the way to a thread and back
                    target.write(held)
                    held = []
        return await _in_thread(pool, lambda: use(target.finish(held)))

    async def _follow(self, session: aiohttp.ClientSession, url: str, until: float) -> aiohttp.ClientResponse:
        """Get the URL, and where it redirects to; each address is judged before it is called."""
        hops = downloading.Hops(url)
        while True:
            proxy, tls = await self._route(hops.url)
            with _errors(url):
                response: aiohttp.ClientResponse = await self._get(session, hops.url, until, proxy=proxy, ssl=tls)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or location is None:
                return response
            response.close()  # its body may have no end
            hops.follow(location.encode("utf-8", "surrogateescape"))

    def _get(self, session: aiohttp.ClientSession, url: str, until: float, **way: Any) -> Any:
        left = max(until - asyncio.get_running_loop().time(), 0.001)
        return session.get(
            URL(url, encoded=url.isascii()),  # a signature may cover the escapes as they are
            timeout=aiohttp.ClientTimeout(total=left, connect=self._timeout, sock_read=self._timeout),
            headers=AS_IT_IS,
            allow_redirects=False,
            **STILL_PACKED,
            **way,
        )

    async def _route(self, url: str) -> Route:
        """Return how to get to a URL's host, and judge it; once for each.

        What a name leads to is judged again by the session, whenever it connects.
        """
        place = downloading.place_of(url)
        if place not in self._routes:
            self._routes[place] = await asyncio.get_running_loop().run_in_executor(None, self._look_around, url)
        return self._routes[place]

    def _look_around(self, url: str) -> Route:
        if self._public_only:
            check_public(url)
        check_certificates(url)
        return proxy_for(url), trusted_certificates() if is_https(url) else True


async def _pieces(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; errors of whoever takes the pieces are not touched."""
    with _errors(url):
        async for piece in pieces(response):
            yield piece


@contextmanager
def _errors(url: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
        reason = "no answer in time" if isinstance(error, asyncio.TimeoutError) else "the connection failed or broke"
        raise downloading.failed(url, reason) from error


async def _in_thread(pool: Executor | None, function: Callable[[], Result]) -> Result:
    """Return what the function returns. It uses the caller's file, so its end is waited for whatever happens."""
    doing = asyncio.get_running_loop().run_in_executor(pool, function)
    try:
        return await asyncio.shield(doing)
    finally:
        if not doing.done():
            await asyncio.wait([doing])


def _as_it_is(downloaded: Downloaded) -> Downloaded:
    return downloaded
