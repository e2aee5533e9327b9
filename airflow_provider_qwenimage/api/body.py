"""Reads the body of an HTTP answer piece by piece, within a time limit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

PIECE = 64 * 1024


class Session(requests.Session):
    """A session to which a redirect is an answer like any other.

    ``requests`` reads the whole body of a redirect, however long and slow, and trips over a target that is no URL,
    even where it is told not to follow.
    """

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Say that the answer leads nowhere."""
        return None


def pieces(response: requests.Response, until: float) -> Iterator[bytes]:
    """Yield the body as it arrives, ``PIECE`` bytes at most at a time.

    ``requests`` bounds the wait for a full piece only, so that a trickle could hold us for hours; this looks at the
    clock after each read from the socket.

    :param until: ``time.monotonic()`` seconds at which the body must be complete.
    :raises requests.ReadTimeout: it was not.
    :raises requests.ConnectionError: the connection broke before the end.
    """
    try:
        while piece := response.raw.read1(PIECE, decode_content=True):
            yield piece
            if time.monotonic() > until:
                raise requests.ReadTimeout("the answer took too long")
    except ReadTimeoutError as error:
        raise requests.ReadTimeout("the answer stopped") from error
    except (HTTPError, OSError) as error:
        if isinstance(error, requests.RequestException):
            raise
        raise requests.ConnectionError("the connection broke before the end of the answer") from error
