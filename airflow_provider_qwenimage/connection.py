"""Reads an Airflow connection: what is where, what is missing, what it means."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_qwenimage.api.errors import InvalidSettingsError
from airflow_provider_qwenimage.api.settings import Settings
from airflow_provider_qwenimage.provider_info import DEFAULT_BASE_URL, EXTRA_FIELDS


def settings_of(connection: Any) -> Settings:
    """Return the client's settings.

    :param connection: an Airflow connection: password = API key, host = base URL (scheme and port optional),
        schema = ``http`` or ``https`` if the host has none, extra = time-outs in seconds.
    :raises InvalidSettingsError: something is missing or can't be right; the text names the connection, not the key.
    """
    try:
        return Settings(
            api_key=(connection.password or "").strip(), base_url=base_url_of(connection), **_timeouts(connection)
        )
    except InvalidSettingsError as error:
        name = connection.conn_id
        del connection  # in Airflow 3 its repr tells the password, and some loggers show the variables of a traceback
        raise InvalidSettingsError(
            f"The Airflow connection {name!r} can't be used: {error.message} "
            "The API key belongs into its password field, the base URL into its host field."
        ) from None


def base_url_of(connection: Any) -> str:
    """Return the service's address: the scheme is https unless it is given or the host is this machine."""
    host = (connection.host or "").strip()
    if not host:
        return DEFAULT_BASE_URL
    scheme, found, rest = host.rpartition("://")
    authority, slash, path = rest.rstrip("/").partition("/")
    authority = _bracketed(authority)
    if connection.port and not _port(authority):
        authority += f":{connection.port}"
    if not found:
        scheme = _scheme(connection.schema, authority)
    return f"{scheme.lower()}://{authority}{slash}{path}"


def _bracketed(authority: str) -> str:
    """Put brackets around a bare IPv6 address: Airflow takes them off when it reads a URI."""
    try:
        return f"[{ipaddress.IPv6Address(authority)}]"
    except ValueError:
        return authority


def _scheme(schema: str | None, authority: str) -> str:
    if schema in ("http", "https"):
        return schema
    return "http" if _is_this_machine(authority) else "https"


def _is_this_machine(authority: str) -> bool:
    try:
        name = urlsplit(f"//{authority}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _port(authority: str) -> int | None:
    try:
        return urlsplit(f"//{authority}").port
    except ValueError:
        return None


def _timeouts(connection: Any) -> dict[str, float]:
    extra = connection.extra_dejson
    if not isinstance(extra, dict):
        raise InvalidSettingsError("Its extra must be a JSON object.")
    found: dict[str, float] = {}
    for name in EXTRA_FIELDS:
        value = extra.get(name)
        if value in (None, ""):
            continue
        try:
            found[name] = float("no number" if isinstance(value, bool) else value)
        except (TypeError, ValueError):
            raise InvalidSettingsError(f"{name} must be a number of seconds, not {value!r}.") from None
    return found
