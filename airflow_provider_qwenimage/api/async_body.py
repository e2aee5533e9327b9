"""Reads the body of an answer in an event loop, as ``body`` does on the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import aiohttp

from airflow_provider_qwenimage.api.decoding import Decoder, UndecodableError

STILL_PACKED: Mapping[str, Any] = {"auto_decompress": False}
"""How a request is sent whose answer is read here, whatever the session's own way is."""


async def pieces(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives, unpacked.

    :param response: of a request that was sent with ``STILL_PACKED``.
    :raises aiohttp.ClientError: the connection broke before the end, or the body can't be unpacked.
    """
    decoder = Decoder(response.headers.get("Content-Encoding"))
    try:
        async for arrived in response.content.iter_any():
            for piece in decoder.decode(arrived):
                yield piece
                if piece is not arrived:  # much may come out of little: others have their turn in between
                    await asyncio.sleep(0)
    except UndecodableError as error:
        raise aiohttp.ClientPayloadError(str(error)) from error


async def start_of(response: aiohttp.ClientResponse, length: int) -> bytes:
    """Return the body, or its first ``length`` bytes if it is longer; for the rest see ``pieces``."""
    content = bytearray()
    async with aclosing(pieces(response)) as body:
        async for piece in body:
            content += piece
            if len(content) >= length:
                break
    return bytes(content[:length])
