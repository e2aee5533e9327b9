"""Runs an emulator in a thread of the current process."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_qwenimage.emulator.app import build_app
from airflow_provider_qwenimage.emulator.options import Options
from airflow_provider_qwenimage.emulator.state import State

PATIENCE = 10
"""Seconds to wait for the server to start."""
DRAWING_THREADS = 4


class Emulator:
    """
    The emulator as a context manager: it accepts connections on entry, and is gone on exit.

    :param host: address to listen on
    :param port: port to listen on; 0 chooses a free one
    :param seed: makes ids, durations and chance the same every time; None makes them new
    :param clock: tells the time in seconds since the epoch; a test's own clock makes generations end without waiting
    :param options: any field of ``Options``, such as ``credits``, ``estimated_time``, ``duration``, ``image_size``
    :raises ValueError: an option is out of range
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int | None = None,
        clock: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        self._host = host
        self._port = port
        rng = random.Random(seed)  # noqa: S311 - no secrets here
        self.state = State(Options(**options), clock=clock, rng=rng, repeats=seed is not None)

        self.url = ""
        """Where the emulator is, such as ``http://127.0.0.1:8089``; known once it is entered."""

    @property
    def api_key(self) -> str:
        """The first account's key."""
        return self.state.options.api_key

    def plan(self, endpoint: str, kind: str, **parameters: Any) -> None:
        """
        Plan a fault, as ``POST /_emulator/faults`` does.

        :raises ValueError: it can't be planned; the message says why
        """
        self.state.plan({"endpoint": endpoint, "kind": kind, **parameters})

    def clear_faults(self) -> None:
        """Forget all planned faults."""
        self.state.clear_faults()

    def set_credits(self, credits: int) -> None:
        """Set the first account's balance, as ``POST /_emulator/credits`` does."""
        self.state.set_account(self.api_key, credits)

    def reset(self) -> None:
        """Forget everything that has happened and all planned faults; requests still delayed come to nothing."""
        self.state.reset()

    def report(self) -> dict[str, Any]:
        """Return what ``GET /_emulator/report`` answers."""
        return self.state.report()

    def requests(self) -> list[dict[str, Any]]:
        """Return what ``GET /_emulator/requests`` answers."""
        return self.state.requests()

    def __enter__(self) -> Emulator:
        """
        Start.

        :raises OSError: the port is in use, or can't be listened on
        """
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family)
        shown_host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{shown_host}:{listener.getsockname()[1]}"
        self._drawing = ThreadPoolExecutor(DRAWING_THREADS, thread_name_prefix="qwenimage-emulator-pictures")
        self._server = _Server(build_app(self.state, self._drawing))
        self._thread = threading.Thread(
            target=self._server.run_on, args=(listener,), name="qwenimage-emulator", daemon=True
        )
        self._thread.start()
        if not self._server.ready.wait(PATIENCE):
            self._stop()
            raise RuntimeError("The emulator did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop; requests that are still being answered have a second to end."""
        self._stop()

    def _stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._drawing.shutdown(cancel_futures=True)


class _Protocol(H11Protocol):
    """Shows the connection to the application, so that a planned fault can cut it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # asyncio leaves this out for sockets that it didn't open, and each answer then waits 40 ms for an ACK.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A dictionary of its own: the one that it was given is shared by all connections.
        self.app_state = {**self.app_state, "transport": transport}


class _Server(uvicorn.Server):
    """A uvicorn that tells when it accepts connections, and leaves the process's logging and signals alone."""

    def __init__(self, app: Starlette) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level=logging.CRITICAL,
                access_log=False,
                server_header=False,
                # Longer than any usual polling interval, or a poll could meet a connection that is just closing.
                timeout_keep_alive=75,
                timeout_graceful_shutdown=1,
                backlog=2048,
            )
        )
        self.ready = threading.Event()

    def run_on(self, listener: socket.socket) -> None:
        """Serve on a socket until ``should_exit``."""
        asyncio.run(self.serve(sockets=[listener]))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()
