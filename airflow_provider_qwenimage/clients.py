"""One client per connection and event loop: of thousands of triggers that start at once, one looks the connection up.

A look-up takes about a millisecond with environment variables, more with a secrets backend, all in one thread.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.hooks import QwenImageHook

if TYPE_CHECKING:
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


async def renewed_client(conn_id: str, refused: AsyncQwenImageClient) -> AsyncQwenImageClient | None:
    """Return a client with what the connection holds now, or None if that is what the service has just refused."""
    client = await shared_client(conn_id, LEAST_AGE)
    return None if client.settings == refused.settings else client


async def _look_up(conn_id: str, known: _Known) -> AsyncQwenImageClient:
    try:
        known.client = await sync_to_async(QwenImageHook(conn_id).get_async_conn)(NO_RETRIES)
        return known.client
    finally:
        known.look_up = None
