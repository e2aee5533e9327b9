"""An S3 on loopback, and a proxy before it that breaks when told to."""

from __future__ import annotations

import atexit
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

_numbers = itertools.count(1)


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's S3 in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class Bucket:
    """A bucket, seen by plain HTTP from behind the proxy."""

    def __init__(self, server: str) -> None:
        self.name = f"pictures-{next(_numbers)}"
        self._url = f"{server}/{self.name}"
        self._headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request"}

    def make(self) -> None:
        requests.put(self._url, headers=self._headers, timeout=10).raise_for_status()

    def put(self, key: str, content: bytes) -> None:
        requests.put(f"{self._url}/{key}", content, headers=self._headers, timeout=10).raise_for_status()

    def get(self, key: str) -> bytes:
        response = requests.get(f"{self._url}/{key}", headers=self._headers, timeout=10)
        response.raise_for_status()
        return response.content

    def content_type(self, key: str) -> str | None:
        return requests.head(f"{self._url}/{key}", headers=self._headers, timeout=10).headers.get("Content-Type")

    def keys(self) -> list[str]:
        """The images in the bucket; the provider's own notes are none."""
        import re

        listing = requests.get(self._url, headers=self._headers, timeout=10).text
        return sorted(key for key in re.findall("<Key>(.*?)</Key>", listing) if ".qwenimage/" not in key)


class FaultyProxy:
    """Passes everything on to the server; of requests that store an image, ``breaks`` ones break off half-way."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.breaks = 0
        self.broken = 0
        self.puts = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 2  # some clients do not rewind a body that they send again, and would wait for ever

            def pass_on(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                stores = self.command == "PUT" and self.path.split("?")[0].endswith((".jpeg", ".png"))
                proxy.puts += stores
                if stores and proxy.breaks > 0:
                    proxy.breaks, proxy.broken = proxy.breaks - 1, proxy.broken + 1
                    self.rfile.read(length // 2)
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                body = self.rfile.read(length)
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                answer = requests.request(
                    self.command, server + self.path, data=body, headers=headers, timeout=30, allow_redirects=False
                )
                self.send_response_only(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in {*_HOP, "content-encoding"}:
                        self.send_header(name, value)
                told = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(answer.content))
                self.send_header("Content-Length", told or "0")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.content)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._server.shutdown()
        self._server.server_close()


@lru_cache(maxsize=1)
def the_proxy() -> FaultyProxy:
    """Return the one proxy of this process, with an S3 behind it, whichever folder's tests ask for it.

    Airflow and fsspec keep a file system, and so its address, for ever: a second one would not be asked.
    """
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(FaultyProxy(stack.enter_context(s3_server())))


_HOP = {"connection", "content-length", "transfer-encoding", "expect", "keep-alive", "host"}
