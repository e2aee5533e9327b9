"""Reads the body of an HTTP answer piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from airflow_provider_qwenimage.api.decoding import Decoder, UndecodableError

PIECE = 256 * 1024


def pieces(response: requests.Response) -> Iterator[bytes]:
    """Yield the body as it arrives, unpacked, ``PIECE`` bytes at most at a time.

    :raises requests.ReadTimeout: the connection's time is over; see ``connections.Session``.
    :raises requests.ConnectionError: the connection broke before the end.
    :raises requests.exceptions.ContentDecodingError: the body can't be unpacked.
    """
    decoder = Decoder(response.headers.get("Content-Encoding"))
    try:
        while piece := response.raw.read1(PIECE, decode_content=False):
            yield from decoder.decode(piece)
    except UndecodableError as error:
        raise requests.exceptions.ContentDecodingError(str(error)) from error
    except ReadTimeoutError as error:
        raise requests.ReadTimeout("the answer took too long") from error
    except (HTTPError, OSError) as error:
        raise requests.ConnectionError("the connection broke before the end of the answer") from error
