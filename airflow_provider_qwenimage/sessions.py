"""One HTTP session per event loop, shared by all triggers on it and closed when the last one leaves."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import aiohttp

from airflow_provider_qwenimage.api.async_session import open_session


@dataclass
class _Shared:
    session: aiohttp.ClientSession
    users: int = 0

    async def __aenter__(self) -> aiohttp.ClientSession:
        self.users += 1
        return self.session

    async def __aexit__(self, *_: object) -> None:
        self.users -= 1
        if not self.users:
            del _by_loop[asyncio.get_running_loop()]
            await self.session.close()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = WeakKeyDictionary()


def shared_session() -> _Shared:
    """Return what ``async with`` makes the running loop's session from: all its users share its connections."""
    loop = asyncio.get_running_loop()
    shared = _by_loop.get(loop)
    if shared is None:
        shared = _by_loop[loop] = _Shared(open_session())
    return shared
