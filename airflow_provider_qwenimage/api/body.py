"""Reads the body of an HTTP answer piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

PIECE = 256 * 1024


def pieces(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it arrives, ``PIECE`` bytes at most at a time.

    :raises requests.ReadTimeout: the connection's time is over; see ``connections.Session``.
    :raises requests.ConnectionError: the connection broke before the end.
    """
    try:
        while piece := response.raw.read1(PIECE, decode_content=True):
            yield piece
    except ReadTimeoutError as error:
        raise requests.ReadTimeout("the answer took too long") from error
    except (HTTPError, OSError) as error:
        raise requests.ConnectionError("the connection broke before the end of the answer") from error
