"""Fetches the picture that an image-to-image order points to."""

from __future__ import annotations

import time

import requests
from urllib3.exceptions import HTTPError

from airflow_provider_qwenimage.emulator.contract import MAX_IMAGE_BYTES, Refusal

TIMEOUTS = (3.05, 5)
"""Seconds to connect, and between two reads."""
PATIENCE = 10
"""Seconds in all."""


def fetch(url: str) -> bytes:
    """
    Fetch a picture over HTTP, as the service would.

    :raises Refusal: it can't be had within 10 seconds, or is larger than 10 MB
    """
    try:
        with requests.get(url, stream=True, timeout=TIMEOUTS) as answer:
            answer.raise_for_status()
            return _read(answer)
    except (requests.RequestException, HTTPError, ValueError):  # ValueError is a host name that can't be one
        raise Refusal("Invalid image url") from None


def _read(answer: requests.Response) -> bytes:
    deadline = time.monotonic() + PATIENCE
    content = bytearray()
    for chunk in answer.iter_content(65_536):
        content += chunk
        if len(content) > MAX_IMAGE_BYTES or time.monotonic() > deadline:
            raise ValueError("too large or too slow")
    return bytes(content)
