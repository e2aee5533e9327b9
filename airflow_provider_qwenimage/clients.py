"""One client per connection and event loop: of thousands of triggers that start at once, one looks the connection up.

A look-up takes about a millisecond with environment variables, more with a secrets backend, all in one thread.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from airflow_provider_qwenimage.api.errors import AuthenticationError
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.async_wait import Answer, ask
from airflow_provider_qwenimage.hooks import QwenImageHook

if TYPE_CHECKING:
    import aiohttp

    from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient

MAX_AGE = 10.0  # seconds after which a connection is looked up again: it may hold another key by then
LEAST_AGE = 1.0  # the same where the service has just refused the key


@dataclass
class _Known:
    at: float
    client: AsyncQwenImageClient | None = None
    look_up: asyncio.Task[AsyncQwenImageClient] | None = None  # while it runs only: a task would keep its loop alive


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Known]] = WeakKeyDictionary()


async def shared_client(conn_id: str, max_age: float = MAX_AGE) -> AsyncQwenImageClient:
    """Return the running loop's client for a connection; it makes one attempt a call.

    The connection is looked up off the loop, by one for all who ask meanwhile.

    :param conn_id: id of the connection.
    :param max_age: seconds for which a look-up holds.
    :raises Exception: whatever the look-up ends in; the next one to ask tries again.
    """
    loop = asyncio.get_running_loop()
    known = _by_loop.setdefault(loop, {})
    found = known.get(conn_id)
    if found and found.client and loop.time() - found.at <= max_age:
        return found.client
    if not found or not found.look_up:
        found = known[conn_id] = _Known(loop.time())
        found.look_up = loop.create_task(_look_up(conn_id, found))
    return await asyncio.shield(found.look_up)  # one who is cancelled must not take it from the others


class Asker:
    """Polls with the loop's client for a connection: looked up at the first poll, and again where the key is refused.

    :param conn_id: id of the connection.
    :param session: of the running loop.
    """

    def __init__(self, conn_id: str, session: aiohttp.ClientSession) -> None:
        self._conn_id = conn_id
        self._session = session
        self._client: AsyncQwenImageClient | None = None

    async def __call__(self, generation_id: str) -> Answer:
        """Return how far a generation is, or the error that the question ended in.

        :raises Exception: whatever the look-up of the connection ends in.
        """
        client = self._client = self._client or await shared_client(self._conn_id)
        found = await ask(client, self._session, generation_id)
        if isinstance(found, AuthenticationError):
            self._client = await shared_client(self._conn_id, LEAST_AGE)
            if self._client.settings != client.settings:  # the connection holds another key by now
                return await ask(self._client, self._session, generation_id)
        return found


async def _look_up(conn_id: str, known: _Known) -> AsyncQwenImageClient:
    try:
        known.client = await sync_to_async(QwenImageHook(conn_id).get_async_conn)(NO_RETRIES)
        return known.client
    finally:
        known.look_up = None
