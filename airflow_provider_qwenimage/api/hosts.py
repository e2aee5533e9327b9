"""Which hosts a result may be fetched from: a reply must not make a worker call into the network that it stands in."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

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


def check_address(address: str, host: str) -> None:
    """Refuse an address to which a host's name was resolved.

    :raises ForbiddenHostError: it is not public.
    """
    if not _is_public(address):
        raise _forbidden(host)


def _forbidden(host: str | None) -> ForbiddenHostError:
    return ForbiddenHostError(f"The service names an image on {host}, which is no public address: not fetched.")
