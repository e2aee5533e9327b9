"""Where the service is and how we talk to it: what both clients are built from."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from airflow_provider_qwenimage.api.decoding import AS_IT_IS
from airflow_provider_qwenimage.api.errors import InvalidSettingsError
from airflow_provider_qwenimage.api.rules import is_http_url, short
from airflow_provider_qwenimage.api.wire import DEFAULT_BASE_URL

LONGEST_TIMEOUT = 86_400
CA_BUNDLE_NAMES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Key(str):
    """An API key whose ``repr()`` does not tell it: Sentry, and others, log the variables of a traceback with that."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class Settings:
    """Address, key and time-outs of the service.

    :param api_key: the account's key, kept as a ``Key``. It is left out of ``repr()``.
    :param base_url: the service's address, http(s), a path allowed.
    :param connect_timeout: seconds until a connection must stand.
    :param read_timeout: seconds until a whole answer must be there.
    :raises InvalidSettingsError: no usable key or address, or a time-out that is not positive or over a day.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    connect_timeout: float = 10.0
    read_timeout: float = 30.0

    def __post_init__(self) -> None:
        if not isinstance(self.api_key, str) or not self.api_key:
            raise InvalidSettingsError("There is no API key.")
        key = Key(self.api_key)
        object.__setattr__(self, "api_key", key)
        if not key.isascii() or not key.isprintable() or " " in key:
            raise InvalidSettingsError("The API key holds blanks or characters that no key has: paste it again.")
        if not is_http_url(self.base_url) or "?" in self.base_url or "#" in self.base_url:
            raise InvalidSettingsError(f"The base URL must look like {DEFAULT_BASE_URL}, not {short(self.base_url)}.")
        if not (0 < self.connect_timeout <= LONGEST_TIMEOUT and 0 < self.read_timeout <= LONGEST_TIMEOUT):
            raise InvalidSettingsError(f"Time-outs must be more than 0 and at most {LONGEST_TIMEOUT:,} seconds.")

    def url(self, path: str) -> str:
        """Return the full URL of a path of the service."""
        return self.base_url.rstrip("/") + path

    def headers(self) -> dict[str, str]:
        """Return the headers of every call; they hold the key and go to the service alone."""
        return {"Api-Key": self.api_key, "Content-Type": "application/json", "Accept": "application/json", **AS_IT_IS}

    @property
    def host(self) -> str:
        """The service's host, for messages."""
        return urlsplit(self.base_url).netloc.rpartition("@")[2]

    @property
    def shown_url(self) -> str:
        """The service's address without a login that it may hold."""
        return urlsplit(self.base_url)._replace(netloc=self.host).geturl()


def is_https(url: str) -> bool:
    """Tell whether calls to ``url`` are encrypted."""
    return urlsplit(url).scheme == "https"


def ca_bundle() -> str | None:
    """Return the file or folder of trusted certificates that the environment names, as ``requests`` reads it."""
    return next(filter(None, map(os.environ.get, CA_BUNDLE_NAMES)), None)


def check_certificates(url: str) -> None:
    """Refuse a CA bundle that is not there, before anything is sent to ``url``.

    :raises InvalidSettingsError: it is not there.
    """
    place = ca_bundle()
    if place and is_https(url) and not os.path.exists(place):
        raise InvalidSettingsError(f"There is no CA bundle at {place}, which {' or '.join(CA_BUNDLE_NAMES)} names.")
