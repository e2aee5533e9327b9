"""A stand-in for the service that is too quick to be the bottleneck: ``python -m benchmarks.lean_server``.

It answers ``create`` and ``get`` as the service does, and files for downloads. An id says when its generation is done,
so that nothing has to be remembered. Prints its port, then serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

OK, MISSING = b"200 OK", b"404 Not Found"


def new_id(done_at: float, number: int) -> str:
    """An id that says when its generation is done, epoch seconds."""
    return f"g{done_at:.4f}-{number}"


def done_at(generation_id: str) -> float:
    """When the generation of an id is done, epoch seconds."""
    return float(generation_id[1:].partition("-")[0])


@lru_cache(maxsize=8)
def picture(length: int) -> bytes:
    """A file of that length that any check of containers takes for a JPEG."""
    head = b"\xff\xd8\xff\xc0\x00\x0b\x08\x04\x00\x04\x00\x01\x01\x11\x00\xff\xda\x00\x02"
    return head + bytes(length - len(head) - 2) + b"\xff\xd9"


class Server:
    def __init__(self, delay: float, least: float, most: float, image_bytes: int) -> None:
        self.delay, self.least, self.most, self.image_bytes = delay, least, most, image_bytes
        self.counts: Counter[str] = Counter()
        self.port = 0

    def answer(self, target: str, body: bytes) -> tuple[bytes, bytes]:
        """The status and body for a request."""
        path = urlsplit(target).path
        self.counts[path.rpartition("/")[2] if path.startswith("/api/") else path.split("/")[1]] += 1
        if path == "/api/task/create":
            when = time.time() + random.uniform(self.least, self.most)
            made = {"task_id": new_id(when, self.counts["create"]), "estimated_time": (self.least + self.most) / 2}
            return OK, envelope(made)
        if path == "/api/task/get":
            return OK, envelope(self.state(json.loads(body)["task_id"]))
        if path == "/api/task/get_credits":
            return OK, envelope({"credits": 1_000_000})
        if path.startswith("/until/"):  # what a sensor for plain HTTP can wait on
            return (OK, b"{}") if time.time() >= done_at(path.removeprefix("/until/")) else (MISSING, b"not yet")
        if path == "/counts":
            return OK, json.dumps(self.counts).encode()
        length = int(parse_qs(urlsplit(target).query).get("bytes", [str(self.image_bytes)])[0])
        return OK, picture(length)

    def state(self, generation_id: str) -> dict[str, object]:
        if time.time() < done_at(generation_id):
            return {"task_id": generation_id, "status": 1, "result_urls": None}
        url = f"http://127.0.0.1:{self.port}/image/{generation_id}.jpeg"
        return {"task_id": generation_id, "status": 2, "result_urls": [url]}


def envelope(data: object) -> bytes:
    return json.dumps({"code": 1, "message": "success", "data": data}).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as well-behaved clients need it: no pipelining, bodies with a length."""

    def __init__(self, server: Server) -> None:
        self.server, self.received = server, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        lower = head.lower()
        at = lower.find(b"\r\ncontent-length:")
        length = int(lower[at + 17 :].partition(b"\r\n")[0]) if at >= 0 else 0
        if not end or len(body) < length:
            return
        self.received = b""
        target = head.split(b" ", 2)[1].decode()
        delay = self.server.delay if target.startswith(("/api/", "/until/")) else 0
        asyncio.get_running_loop().call_later(delay, self.respond, target, body)

    def respond(self, target: str, body: bytes) -> None:
        status, content = self.server.answer(target, body)
        kind = b"image/jpeg" if content[:2] == b"\xff\xd8" else b"application/json"
        head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(content))
        if len(content) < 100_000:
            self.transport.write(head + content)
        else:
            self.transport.write(head)
            self.transport.write(memoryview(content))


async def serve(arguments: argparse.Namespace) -> None:
    server = Server(arguments.delay, arguments.least, arguments.most, arguments.image_bytes)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=4096)
    server.port = listener.sockets[0].getsockname()[1]
    print(server.port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each answer of the API")
    parser.add_argument("--least", type=float, default=8, help="shortest generation, seconds")
    parser.add_argument("--most", type=float, default=12, help="longest generation, seconds")
    parser.add_argument("--image-bytes", type=int, default=200_000)
    asyncio.run(serve(parser.parse_args()))
