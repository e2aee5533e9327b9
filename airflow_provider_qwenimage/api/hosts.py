"""Which hosts a result may be fetched from: a reply must not make a worker call into the network that it stands in."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_qwenimage.api.errors import ForbiddenHostError

# IPv6 addresses that a gateway, a tunnel or the kernel turns into the IPv4 address in them: how many bits follow that.
_HOLDING_IPV4 = {
    ipaddress.IPv6Network("::/96"): 0,  # IPv4-compatible
    ipaddress.IPv6Network("::ffff:0:0/96"): 0,  # IPv4-mapped
    ipaddress.IPv6Network("::ffff:0:0:0/96"): 0,  # IPv4-translated
    ipaddress.IPv6Network("64:ff9b::/96"): 0,  # NAT64
    ipaddress.IPv6Network("64:ff9b:1::/96"): 0,  # NAT64 of a network's own, where it holds the IPv4 address like that
    ipaddress.IPv6Network("2002::/16"): 80,  # 6to4
}
# Public to some versions of Python, or to all.
_NOT_PUBLIC = (
    ipaddress.ip_network("64:ff9b:1::/48"),  # other NAT64: only its gateway knows where the IPv4 address stands
    ipaddress.ip_network("192.0.0.0/24"),  # protocol assignments; a cloud's metadata
    ipaddress.ip_network("168.63.129.16"),  # Azure's own services, for whoever asks from inside of a machine there
)


def is_private(url: str) -> bool:
    """Tell whether a URL's host is, or resolves to, an address that is not public: loopback, private, link-local.

    A name that can't be resolved counts as public: the connection will fail anyway, or a proxy resolves it.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        return not _is_public(host)
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
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        ip = _ipv4_in(ip) or ip
    if ip.is_multicast or ip.is_reserved or any(ip in network for network in _NOT_PUBLIC):
        return False
    return ip.is_global and not getattr(ip, "is_site_local", False)


def _ipv4_in(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to, if it does."""
    for network, bits in _HOLDING_IPV4.items():
        if ip in network:
            return ipaddress.IPv4Address(int(ip) >> bits & 0xFFFF_FFFF)
    return None


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
