"""The worker's HTTP connections: they tell what was never sent, end in time, and may refuse private addresses."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_match_hostname import CertificateError

from airflow_provider_qwenimage.api import hosts
from airflow_provider_qwenimage.api.decoding import AS_IT_IS
from airflow_provider_qwenimage.api.errors import ForbiddenHostError


class NotConnected(Exception):
    """The connection was never made, so nothing was sent; its text says why, without addresses and layers.

    Not a ``requests`` exception: urllib3 would take it for a broken connection.
    """


class _Sockets:
    """Those of a session that are open."""

    def __init__(self) -> None:
        self._open: WeakSet[socket.socket] = WeakSet()
        self._lock = threading.Lock()

    def add(self, opened: Any) -> None:
        if isinstance(opened, socket.socket):  # TLS in a proxy's TLS is none
            with self._lock:
                self._open.add(opened)

    def shut_down(self) -> None:
        with self._lock:
            for one in self._open:
                with suppress(OSError):  # it is closed
                    socket.socket.shutdown(one, socket.SHUT_RDWR)  # TLS would change objects that its thread uses


@dataclass(frozen=True)
class _Rules:
    until: Callable[[], float]
    public_only: bool
    sockets: _Sockets


class Session(requests.Session):
    """A session whose answers end in time, headers included, and to which a redirect is an answer like any other.

    ``requests`` bounds the wait for each piece of an answer only, so that a trickle could hold us for hours. And it
    reads the whole body of a redirect, however long, and trips over a target that is no URL, even where it is told
    not to follow.

    :param until: tells, when an answer is waited for, the ``time.monotonic()`` seconds at which it must be complete.
    :param public_only: whether connections to addresses that are not public are refused.
    """

    def __init__(self, until: Callable[[], float], *, public_only: bool = False) -> None:
        super().__init__()
        self.headers.update(AS_IT_IS)
        # What one answer sets must not go along with requests for others.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._sockets = _Sockets()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(_Rules(until, public_only, self._sockets)))

    def break_off(self) -> None:
        """Break all connections, in whatever thread they are waited for, so that nobody waits for them any more."""
        self._sockets.shut_down()

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Say that the answer leads nowhere."""
        return None


class _Adapter(HTTPAdapter):
    def __init__(self, rules: _Rules) -> None:
        self._rules = rules
        super().__init__()

    def init_poolmanager(self, *given: Any, **more: Any) -> None:
        super().init_poolmanager(*given, **more)
        self.poolmanager.pool_classes_by_scheme = _ruled(self.poolmanager.pool_classes_by_scheme, self._rules)

    def proxy_manager_for(self, proxy: Any, **more: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **more)
        if is_new:  # the proxy itself may be at a private address
            rules = replace(self._rules, public_only=False)
            manager.pool_classes_by_scheme = _ruled(manager.pool_classes_by_scheme, rules)
        return manager


def _ruled(pools: Mapping[str, Any], rules: _Rules) -> dict[str, Any]:
    """Return the pool classes with connections that follow the rules."""
    return {
        scheme: type(
            pool.__name__,
            (pool,),
            {"ConnectionCls": type("Connection", (_Connection, pool.ConnectionCls), {"rules": rules})},
        )
        for scheme, pool in pools.items()
    }


class _Connection:
    """Goes before a connection class of urllib3."""

    rules: _Rules

    def connect(self) -> None:
        """Connect, with the proxy's tunnel and TLS if there are any; the request is sent afterwards."""
        try:
            self._bound_answers()
            super().connect()  # type: ignore[misc]
            self.rules.sockets.add(self.sock)  # type: ignore[attr-defined]
        except ForbiddenHostError:
            raise
        except Exception as error:
            raise NotConnected(_reason(error, is_proxied=getattr(self, "proxy", None) is not None)) from error

    def getresponse(self) -> Any:
        """Wait for the answer."""
        self._bound_answers()
        return super().getresponse()  # type: ignore[misc]

    def _bound_answers(self) -> None:
        self.response_class = partial(_Response, until=self.rules.until())

    def _new_conn(self) -> socket.socket:
        """Look at whom we have reached: a name server of the other side may answer differently each time."""
        connection: socket.socket = super()._new_conn()  # type: ignore[misc]
        if self.rules.public_only:
            try:
                hosts.check_address(connection.getpeername()[0], self.host)  # type: ignore[attr-defined]
            except ForbiddenHostError:
                connection.close()
                raise
        return connection


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *given: Any, until: float, **more: Any) -> None:
        super().__init__(sock, *given, **more)
        self.fp = io.BufferedReader(_Bounded(self.fp.detach(), sock, until))


class _Bounded(io.RawIOBase):
    """A socket's file that raises ``TimeoutError`` when the time is over, however often something arrives."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, until: float) -> None:
        self._raw = raw
        self._connection = connection
        self._until = until
        self._pause = connection.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer took too long")
        self._connection.settimeout(left if self._pause is None else min(self._pause, left))
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def _reason(error: Exception, *, is_proxied: bool) -> str:
    if isinstance(error, (ssl.SSLCertVerificationError, CertificateError)):
        return "its certificate is not trusted"
    if isinstance(error, ssl.SSLError):
        return "there is no TLS (https) at this address and port, or none that we understand"
    if isinstance(error, (ConnectTimeoutError, TimeoutError)) and not isinstance(error, NewConnectionError):
        return "no answer in time"
    if is_proxied:
        return "the proxy can't be reached or refused"
    unresolved = isinstance(error, (NameResolutionError, UnicodeError))
    return "the name can't be resolved" if unresolved else "connection refused or unreachable"
