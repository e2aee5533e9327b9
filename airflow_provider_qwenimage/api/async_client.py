"""Sends calls with aiohttp: the client of event loops.

A trigger only reads with it, since it may be started again or twice; whoever buys with it runs on a worker.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import aiohttp
from tenacity import AsyncRetrying

from airflow_provider_qwenimage.api import wire
from airflow_provider_qwenimage.api.async_body import STILL_PACKED, start_of
from airflow_provider_qwenimage.api.async_session import open_session
from airflow_provider_qwenimage.api.async_surroundings import proxy_for, trusted_certificates, why_not_connected
from airflow_provider_qwenimage.api.errors import NotSentError, QwenImageError, ServiceError
from airflow_provider_qwenimage.api.models import Generation, GenerationRequest, Submission
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.settings import Settings, check_certificates, is_https
from airflow_provider_qwenimage.api.turns import Turns

Answer = TypeVar("Answer")


class AsyncQwenImageClient:
    """The service, call by call, without blocking. Proxies and CA bundles as ``requests`` reads them.

    Reads certificates and the environment when it is built: build it off the event loop.

    :param settings: address, key, time-outs.
    :param retries: when a call is sent again; a create only if nothing can have been bought.
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
        retries = retries or Retries()
        # Waits make one attempt a poll, thousands of them: they need not go through tenacity.
        self._retrying = AsyncRetrying(**retries.tenacity(), sleep=sleep) if retries.attempts > 1 else None
        check_certificates(settings.base_url)
        self._proxy = proxy_for(settings.base_url)
        self._tls = trusted_certificates() if is_https(settings.base_url) else True
        total = settings.connect_timeout + settings.read_timeout
        self._timeout = aiohttp.ClientTimeout(total=total, sock_connect=settings.connect_timeout)
        # `connect` covers the wait for a free connection too, which must not use up the time for the answer.
        self._timeout_to_buy = aiohttp.ClientTimeout(total=total, connect=settings.connect_timeout)

    async def create_task(self, session: aiohttp.ClientSession, request: GenerationRequest) -> Submission:
        """Buy a generation; see ``QwenImageClient.create_task``. Never called from a trigger.

        :param session: used if it keeps no connections (``open_session(keep=False)``): a kept one may have died
            unseen, which would leave the outcome unknown. Beside any other, one of its own is opened for the call.
        :return: its id, and the service's estimate in seconds.
        :raises UnknownOutcomeError: the answer was lost; it may have been charged.
        """
        return await self._call(session, wire.create(request))

    async def get_task(self, session: aiohttp.ClientSession, generation_id: str) -> Generation:
        """Ask how far a generation is; see ``QwenImageClient.get_task``."""
        return await self._call(session, wire.get(generation_id))

    async def get_credits(self, session: aiohttp.ClientSession) -> float:
        """Ask for the account's balance in credits; see ``QwenImageClient.get_credits``."""
        return await self._call(session, wire.get_credits())

    async def _call(self, session: aiohttp.ClientSession, call: wire.Call[Answer]) -> Answer:
        if not self._retrying:
            return await self._send(session, call)
        answer: Answer = await self._retrying(self._send, session, call)
        return answer

    async def _send(self, session: aiohttp.ClientSession, call: wire.Call[Answer]) -> Answer:
        body = _Body(call.content(), content_type="application/json")
        try:
            reply = await (self._buy if call.buys else self._ask)(session, call, body)
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError) as error:
            raise _as_error(call, error, self.settings.host, is_sent=body.is_sent) from error
        return wire.read(call, reply)

    async def _ask(self, session: aiohttp.ClientSession, call: wire.Call[Any], body: _Body) -> wire.Reply:
        turns = turns_of(session)
        await turns.enter(self._timeout.total or 0.0)
        try:
            return await self._exchange(session, call, body)
        finally:
            turns.leave()

    async def _buy(self, session: aiohttp.ClientSession, call: wire.Call[Any], body: _Body) -> wire.Reply:
        if session.connector and session.connector.force_close:
            return await self._exchange(session, call, body)
        async with open_session(keep=False) as own:
            return await self._exchange(own, call, body)

    async def _exchange(self, session: aiohttp.ClientSession, call: wire.Call[Answer], body: _Body) -> wire.Reply:
        async with session.post(
            self.settings.url(call.path),
            data=body,
            headers=self.settings.headers(),
            timeout=self._timeout_to_buy if call.buys else self._timeout,
            allow_redirects=False,  # a redirect would carry the key to another place
            proxy=self._proxy,
            ssl=self._tls,
            **STILL_PACKED,
        ) as response:
            content = await start_of(response, wire.MAX_REPLY_BYTES + 1)
            return wire.Reply(response.status, content, response.headers.get("Retry-After"), self.settings.api_key)


class _Body(aiohttp.BytesPayload):
    """A request's body that knows whether sending it has begun: before that, nothing can have been bought."""

    is_sent = False

    async def write(self, writer: Any) -> None:  # aiohttp < 3.12 calls this
        self.is_sent = True
        await super().write(writer)

    async def write_with_length(self, writer: Any, content_length: int | None) -> None:
        self.is_sent = True
        await super().write_with_length(writer, content_length)


_turns: WeakKeyDictionary[aiohttp.ClientSession, Turns] = WeakKeyDictionary()


def turns_of(session: aiohttp.ClientSession) -> Turns:
    """Return the turns of the calls that only read: as many at a time as the session has connections."""
    found = _turns.get(session)
    if found is None:
        limit = session.connector.limit if session.connector else 0
        found = _turns[session] = Turns(limit or sys.maxsize)
    return found


def _as_error(call: wire.Call[Answer], error: BaseException, host: str, *, is_sent: bool) -> QwenImageError:
    if not is_sent:
        return NotSentError(f"Could not connect to {host} for the {call.name}: {why_not_connected(error)}.")
    what = "timed out" if isinstance(error, asyncio.TimeoutError) else "was lost"
    return wire.lost_answer(call, ServiceError(f"The answer of {host} to the {call.name} {what}."))
