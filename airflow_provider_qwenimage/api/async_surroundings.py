"""What aiohttp does not find out by itself: proxies and certificates as ``requests`` reads them; why it failed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from functools import lru_cache

import aiohttp
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy

from airflow_provider_qwenimage.api.errors import InvalidSettingsError
from airflow_provider_qwenimage.api.rules import is_http_url
from airflow_provider_qwenimage.api.settings import ca_bundle


def proxy_for(url: str) -> str | None:
    """Return the URL of the proxy that the environment names for ``url``.

    :raises InvalidSettingsError: it can't be used.
    """
    proxy = select_proxy(url, get_environ_proxies(url))
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy and not is_http_url(proxy):  # it may hold a password, so it is not shown
        raise InvalidSettingsError("The proxy that the environment names is no http:// or https:// URL.")
    return proxy


@lru_cache(maxsize=1)
def trusted_certificates() -> ssl.SSLContext:
    """Return a TLS context of the certificates that ``requests`` trusts; once per process, for it costs some 20 ms."""
    place = ca_bundle() or DEFAULT_CA_BUNDLE_PATH
    is_folder = os.path.isdir(place)
    return ssl.create_default_context(cafile=None if is_folder else place, capath=place if is_folder else None)


def why_not_connected(error: BaseException) -> str:
    """Name the cause in the words of the worker's client; the libraries' own hold addresses and layers."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "there is no TLS (https) at this address and port, or none that we understand"
    if isinstance(error, (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError)):
        return "the proxy can't be reached or refused"
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.InvalidURL):
        return "its address, or the proxy's, can't be used"
    unresolved = isinstance(getattr(error, "os_error", None), socket.gaierror)
    return "the name can't be resolved" if unresolved else "connection refused or unreachable"
