"""Which hosts a result may be fetched from: a reply must not make a worker call into the network that it stands in."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from airflow_provider_qwenimage.api.errors import ForbiddenHostError


def is_private(url: str) -> bool:
    """Tell whether a URL's host is, or resolves to, an address that is not public: loopback, private, link-local.

    A name that can't be resolved counts as public: the connection will fail anyway, or a proxy resolves it.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        pass
    if select_proxy(url, get_environ_proxies(url)):
        return False  # the proxy resolves the name and decides
    try:
        found = socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(not _is_public(str(address[4][0])) for address in found)


def _is_public(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_global


def check_public(url: str) -> None:
    """Refuse a URL that leads to an address that is not public.

    :raises ForbiddenHostError: it does.
    """
    if is_private(url):
        raise _forbidden(urlsplit(url).hostname)


def _forbidden(host: str | None) -> ForbiddenHostError:
    return ForbiddenHostError(f"The service names an image on {host}, which is no public address: not fetched.")


class PublicAdapter(HTTPAdapter):
    """Refuses connections to addresses that are not public, whatever the name resolved to when it was looked up before.

    A name server of the other side may answer differently each time. A proxy's connections are left alone.
    """

    def init_poolmanager(self, *given: Any, **more: Any) -> None:
        """Make connections that look at whom they have reached before they send anything."""
        super().init_poolmanager(*given, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


class _HTTP(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn(), self.host)


class _HTTPS(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _checked(super()._new_conn(), self.host)


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTP


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPS


def _checked(connection: socket.socket, host: str) -> socket.socket:
    if not _is_public(connection.getpeername()[0]):
        connection.close()
        raise _forbidden(host)
    return connection
