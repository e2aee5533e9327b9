"""One HTTP exchange: the request as it came, the answer as it is meant, and the connection between them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from airflow_provider_qwenimage.emulator.faults import Fault

CHUNK = 65_536
LOGGED_BODY = 16_384
"""Bytes up to which a JSON body is kept in the request log."""


@dataclass(frozen=True)
class Call:
    """
    A request, read to its end.

    :param query: as it came, undecoded
    :param body: None if it is larger than the endpoint allows
    :param fault: what is planned to happen to it
    """

    method: str
    path: str
    query: str
    headers: Headers
    body: bytes | None
    fault: Fault | None = None

    @property
    def origin(self) -> str:
        """Scheme and authority under which the caller reached the emulator, such as ``http://127.0.0.1:8089``."""
        return f"http://{self.headers.get('host', 'localhost')}"

    def as_log_entry(self) -> dict[str, Any]:
        """The request as the log shows it: without the API key, and without a body that isn't JSON or is large."""
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            shown = "***" if name == "api-key" else value
            headers[name] = f"{headers[name]}, {shown}" if name in headers else shown
        return {
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": headers,
            "api_key_present": "api-key" in headers,
            "body": self._logged_body(),
        }

    def _logged_body(self) -> Any:
        if not self.body or len(self.body) > LOGGED_BODY:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class Answer:
    """A whole answer; ``length`` tells whether its Content-Length is sent."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    length: bool = True


def json_answer(payload: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Build an answer with a JSON body, in ASCII so that half a surrogate pair can be echoed."""
    return Answer(status, json.dumps(payload).encode(), headers=headers)


@dataclass(frozen=True)
class Line:
    """The connection to one caller, over which an answer can be sent, or cut."""

    scope: Scope
    receive: Receive
    send: Send

    async def read(self, limit: int) -> bytes | None:
        """
        Read the request's body to its end.

        :return: None if it is larger than ``limit`` bytes
        :raises ClientDisconnect: the caller hung up before the end
        """
        body = bytearray()
        size = 0
        async for chunk in self._chunks():
            size += len(chunk)
            if size <= limit:  # the rest is read all the same: an answer in mid-request would be lost
                body += chunk
        return bytes(body) if size <= limit else None

    async def answer(self, answer: Answer, *, chunk: int = CHUNK, pause: float = 0) -> None:
        """Send an answer, ``chunk`` bytes at a time with a pause of so many seconds after each."""
        await self._start(answer)
        size = len(answer.body)
        for start in range(0, max(size, 1), chunk):
            await self._send_body(answer.body[start : start + chunk], more=start + chunk < size)
            if pause:
                await asyncio.sleep(pause)

    async def cut(self, answer: Answer) -> None:
        """Announce the whole answer, send half of its body, and hang up."""
        await self._start(answer)
        await self._send_body(answer.body[: len(answer.body) // 2], more=True)
        await self._close(flush=True)

    async def hang_up(self) -> None:
        """Close the connection without an answer."""
        await self._close(flush=False)

    async def _start(self, answer: Answer) -> None:
        headers = list(answer.headers)
        if answer.content_type is not None:
            headers.append(("content-type", answer.content_type))
        if answer.length and answer.status != 204:
            headers.append(("content-length", str(len(answer.body))))
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": raw})

    async def _send_body(self, body: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def _close(self, *, flush: bool) -> None:
        transport: asyncio.Transport = self.scope["state"]["transport"]
        if flush:
            transport.close()
        else:
            transport.abort()
        # uvicorn would answer 500 for an app that returns before the connection is known to be gone.
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            yield message.get("body", b"")
            if not message.get("more_body"):
                return
