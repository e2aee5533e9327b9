"""Bodies are asked for as they are; one that comes compressed nevertheless is read, in little memory."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from api_servers import CREATED, CREDITS, Server, envelope, http

from airflow_provider_qwenimage.api.async_download import AsyncDownloader
from airflow_provider_qwenimage.api.async_session import open_session
from airflow_provider_qwenimage.api.decoding import STEP, Decoder, UndecodableError
from airflow_provider_qwenimage.api.download import Downloader
from airflow_provider_qwenimage.api.errors import (
    BrokenImageError,
    ImageDownloadError,
    ImageTooLongError,
    ServiceError,
    UnexpectedReplyError,
    UnknownOutcomeError,
)
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.emulator import pictures

PNG = pictures.sample("png")
REQUEST = GenerationRequest(prompt="a lighthouse")
LITTLE = 5_000_000  # bytes of memory
BOMB_BYTES = 60_000_000


def raw_deflate(data: bytes) -> bytes:
    """What some servers take for "deflate": the stream without its header and check sum."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


ENCODED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "capitals": ("GZip ", gzip.compress),
    "two-members": ("gzip", lambda data: gzip.compress(data[:20]) + gzip.compress(b"") + gzip.compress(data[20:])),
    "deflate": ("deflate", zlib.compress),
    "raw-deflate": ("deflate", raw_deflate),
    "without-check-sum": ("gzip", lambda data: gzip.compress(data)[:-8]),
    "rubbish-after-it": ("gzip", lambda data: gzip.compress(data) + b"rubbish" * 100),
    "identity": ("identity", bytes),
    "nothing": ("", bytes),
    "no-encoding-at-all": ("binary", bytes),
}
BOMBS = {
    "gzip": ("gzip", gzip.compress(bytes(BOMB_BYTES))),
    "deflate": ("deflate", zlib.compress(bytes(BOMB_BYTES))),
    "raw-deflate": ("deflate", raw_deflate(bytes(BOMB_BYTES))),
}
BROKEN = {
    "rubbish": http(200, b"\xff\xffhello", Content_Encoding="gzip"),
    "wrong-check-sum": http(200, gzip.compress(envelope({}))[:-8] + b"\xff" * 8, Content_Encoding="gzip"),
    "no-deflate": http(200, b"\xff\xffhello", Content_Encoding="deflate"),
}


@pytest.fixture(params=["worker", "loop"])
def fetch(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Callable[..., bytes]:
    """Fetch an image, once, with the worker's downloader or with the loop's."""

    async def in_loop(url: str, file: Any, options: dict[str, Any]) -> None:
        async with open_session() as session:
            await AsyncDownloader(**options).fetch(session, url, file)

    def act(url: str, **more: Any) -> bytes:
        file, options = io.BytesIO(), {"retries": NO_RETRIES, **more}
        if request.param == "worker":
            Downloader(**options).fetch(url, file)
        else:
            loop.run_until_complete(in_loop(url, file, options))
        return file.getvalue()

    return act


def in_pieces(answer: bytes, size: int) -> Callable[[socket.socket], None]:
    """Send an answer in so many bytes at a time."""

    def send(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(answer), size):
            connection.sendall(answer[start : start + size])

    return send


def memory_of(act: Callable[..., Any], *arguments: Any) -> int:
    """The most bytes that were allocated at a time."""
    tracemalloc.start()
    try:
        act(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_replies_are_asked_for_as_they_are(either: Any) -> None:
    """No call asks for compression."""
    with Server(CREATED, CREDITS) as server:
        client = either(server.url, retries=NO_RETRIES)
        client.create_task(REQUEST)
        client.get_credits()
        assert [encodings(request) for request in server.requests] == [[b"identity"]] * 2


def test_images_are_asked_for_as_they_are(fetch: Any) -> None:
    """Nor does a download: images are compressed already."""
    with Server(http(200, PNG)) as server:
        fetch(server.url)
        assert encodings(server.requests[0]) == [b"identity"]


def encodings(request: bytes) -> list[bytes]:
    """The encodings that a request accepts."""
    lines = [line.partition(b":") for line in request.split(b"\r\n")]
    return [value.strip() for name, _, value in lines if name.lower() == b"accept-encoding"]


@pytest.mark.parametrize("size", [7, 1_000_000], ids=["trickle", "at-once"])
@pytest.mark.parametrize("name", ENCODED)
def test_a_reply_is_read_however_it_is_encoded(name: str, size: int, either: Any) -> None:
    """What a create says is paid for: a gateway that compresses unasked does not lose it."""
    encoding, encode = ENCODED[name]
    body = envelope({"task_id": "abc", "estimated_time": 15, "credits": 7, "more": "word " * 200})
    with Server(in_pieces(http(200, encode(body), Content_Encoding=encoding), size)) as server:
        client = either(server.url, retries=NO_RETRIES)
        assert client.create_task(REQUEST).generation_id == "abc"
        assert client.get_credits() == 7


@pytest.mark.parametrize("name", ENCODED)
def test_an_image_is_read_however_it_is_encoded(name: str, fetch: Any) -> None:
    """So is an image, the name of an encoding that is none included: some stores write anything there."""
    encoding, encode = ENCODED[name]
    with Server(http(200, encode(PNG), Content_Encoding=encoding)) as server:
        assert fetch(server.url) == PNG


@pytest.mark.parametrize("name", BOMBS)
def test_a_reply_that_unpacks_without_end(name: str, either: Any) -> None:
    """It is cut at the bound of all replies, and takes little memory until then."""
    encoding, body = BOMBS[name]
    with Server(http(200, body, Content_Encoding=encoding)) as server:
        client = either(server.url, retries=NO_RETRIES)

        def ask() -> None:
            with pytest.raises(UnexpectedReplyError, match="longer than 1,000,000 bytes"):
                client.get_credits()

        assert memory_of(ask) < LITTLE


@pytest.mark.parametrize("name", BOMBS)
def test_an_image_that_unpacks_without_end(name: str, fetch: Any) -> None:
    """The same with the bound of images."""
    encoding, body = BOMBS[name]
    with Server(http(200, body, Content_Encoding=encoding)) as server:

        def load() -> None:
            with pytest.raises(ImageTooLongError):
                fetch(server.url, max_bytes=1_000_000)

        assert memory_of(load) < LITTLE


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip"])
def test_an_unknown_encoding(encoding: str, fetch: Any, either: Any) -> None:
    """What nobody asked for and nobody can read is a broken answer."""
    with Server(http(200, gzip.compress(gzip.compress(envelope({}))), Content_Encoding=encoding)) as server:
        with pytest.raises(BrokenImageError):
            fetch(server.url)
        client = either(server.url, retries=NO_RETRIES)
        with pytest.raises(UnexpectedReplyError):
            client.get_credits()
        with pytest.raises(UnknownOutcomeError):
            client.create_task(REQUEST)


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_what_can_not_be_unpacked(answer: bytes, fetch: Any, either: Any) -> None:
    """It is a connection that broke: an image may be fetched again, a create is not sent again."""
    with Server(answer) as server:
        with pytest.raises(ImageDownloadError):
            fetch(server.url)
        client = either(server.url, retries=NO_RETRIES)
        with pytest.raises(ServiceError):
            client.get_credits()
        with pytest.raises(UnknownOutcomeError):
            client.create_task(REQUEST)
        assert len(server.requests) == 3


# The decoder alone


@pytest.mark.parametrize("name", BOMBS)
def test_steps_are_bounded(name: str) -> None:
    """However much is in the next bytes, it comes a step at a time, and all of it."""
    encoding, body = BOMBS[name]
    steps = [len(piece) for piece in Decoder(encoding).decode(body)]
    assert sum(steps) == BOMB_BYTES
    assert max(steps) <= STEP


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("name", ENCODED)
def test_nothing_is_lost_between_the_pieces(name: str, size: int) -> None:
    """Wherever a body is cut on its way, it is the same at the end."""
    encoding, encode = ENCODED[name]
    data = PNG + bytes(2 * STEP) + PNG
    decoder, body = Decoder(encoding), encode(data)
    cuts = range(0, len(body), size) if len(body) < 100_000 else [0]
    step = size if len(cuts) > 1 else len(body)
    assert b"".join(piece for start in cuts for piece in decoder.decode(body[start : start + step])) == data


def test_members_without_content_take_no_time() -> None:
    """A body of many tiny streams is broken, not work."""
    decoder = Decoder("gzip")
    with pytest.raises(UndecodableError):
        list(decoder.decode(gzip.compress(b"") * 20_000))


def test_bytes_after_the_end_are_not_kept() -> None:
    """What follows the compressed stream is left out, and takes no memory."""
    decoder = Decoder("deflate")
    assert b"".join(decoder.decode(zlib.compress(b"hello"))) == b"hello"
    piece = bytes(1_000_000)

    def feed() -> None:
        for _ in range(20):
            assert list(decoder.decode(piece)) == []

    assert memory_of(feed) < LITTLE
