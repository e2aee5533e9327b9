"""Takes out of the service's replies what nobody else may see."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

SECRET_FIELDS = ("policy", "x-amz-signature", "x-amz-credential", "key")


def without_secrets(value: Any, key: str) -> Any:
    """The same without the key, without the signatures of URLs and without what an upload form proves itself with."""
    if isinstance(value, dict):
        signed = "policy" in value
        return {
            name: "***" if signed and name in SECRET_FIELDS else without_secrets(each, key)
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(each, key) for each in value]
    if not isinstance(value, str):
        return value
    value = value.replace(key, "***")
    return re.sub(r"https?://\S+", lambda found: _without_query(found[0]), value)


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query="***" if parts.query else "", fragment=""))
