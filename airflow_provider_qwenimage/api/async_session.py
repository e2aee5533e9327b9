"""Opens aiohttp sessions that suit the service and its images: no cookies, bounded, to public hosts only if wanted."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
from aiohttp.abc import AbstractResolver

from airflow_provider_qwenimage.api.hosts import check_address

CONNECTIONS = 300  # where thousands of waits end together, 100 with answers after 50 ms would make 2,000 polls a second
KEPT_OPEN = 15.0  # seconds; shorter than servers and proxies keep idle connections, so that few die unseen


def open_session(
    *, connections: int = CONNECTIONS, keep: bool = True, public_only: bool = False
) -> aiohttp.ClientSession:
    """Return a session for the running loop; whoever opens it closes it.

    :param connections: how many may be open at a time; further requests queue.
    :param keep: whether connections are kept for the next request. A call that buys wants none that are.
    :param public_only: whether connections to addresses that are not public are refused, as result images need.
    """
    options: dict[str, Any] = {"keepalive_timeout": KEPT_OPEN} if keep else {"force_close": True}
    connector = (PublicConnector if public_only else aiohttp.TCPConnector)(limit=connections, **options)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class PublicConnector(aiohttp.TCPConnector):
    """Connects only to public addresses, and to the proxies of the environment wherever they are.

    Only names are judged here, by all that they resolve to; whoever sends judges the addresses that stand in a URL.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(resolver=_PublicResolver(), **options)


class _PublicResolver(AbstractResolver):
    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()
        self._proxies = {_place(proxy) for proxy in getproxies().values()}

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> Any:
        """Return the addresses of a name; aiohttp connects to one of these and to no other."""
        found = await self._resolver.resolve(host, port, family)
        if (host, port) not in self._proxies:
            for address in found:
                check_address(address["host"], host)
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _place(proxy: str) -> tuple[str, int]:
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "", 0
