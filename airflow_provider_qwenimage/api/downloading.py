"""What a download does whoever sends it: judges the answer, follows redirects, counts and hashes the bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

from tenacity import retry_if_exception

from airflow_provider_qwenimage.api.errors import (
    ImageDownloadError,
    ImageError,
    ImageGoneError,
    ImageTooLongError,
    InvalidRequestError,
)
from airflow_provider_qwenimage.api.images import ImageFacts, inspect
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.rules import is_http_url, short
from airflow_provider_qwenimage.api.wire import seconds_to_wait

MAX_REDIRECTS = 5
MAX_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Downloaded:
    """What was fetched: the image's facts, its length in bytes and the hex SHA-256 of its bytes."""

    facts: ImageFacts
    bytes: int
    sha256: str


class Target:
    """The file that a body goes into; whatever it holds is replaced.

    :param file: open for reading and writing in binary, seekable.
    :param url: where the body comes from, for error texts.
    :param max_bytes: longest body that is accepted.
    """

    def __init__(self, file: BinaryIO, url: str, max_bytes: int) -> None:
        self._file, self._url, self._max_bytes = file, url, max_bytes
        self.length = 0
        self._is_empty = False
        self._digest = hashlib.sha256()

    def count(self, piece: bytes) -> None:
        """Count the next piece of the body, before it is written.

        :raises ImageTooLongError: it is longer than ``max_bytes``.
        """
        self.length += len(piece)
        if self.length > self._max_bytes:
            raise ImageTooLongError(f"The image at {shown(self._url)} is longer than {self._max_bytes:,} bytes.")

    def write(self, pieces: Iterable[bytes]) -> None:
        """Write and hash pieces that were counted."""
        if not self._is_empty:
            self._file.seek(0)
            self._file.truncate()
            self._is_empty = True
        for piece in pieces:
            self._digest.update(piece)
            self._file.write(piece)

    def finish(self, pieces: Iterable[bytes] = ()) -> Downloaded:
        """Write the last pieces and check the whole.

        :raises BrokenImageError: it is not a whole image.
        """
        self.write(pieces)
        self._file.flush()
        return Downloaded(inspect(self._file), self.length, self._digest.hexdigest())


class Hops:
    """A URL and where it redirects to, one redirect after the other."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._start = url
        self._count = 0

    def follow(self, location: bytes) -> None:
        """Go on to a ``Location`` header, relative or absolute; most servers send UTF-8.

        :raises ImageGoneError: it is no http(s) URL.
        :raises ImageDownloadError: it is one redirect too many.
        """
        self._count += 1
        if self._count > MAX_REDIRECTS:
            raise failed(self._start, f"more than {MAX_REDIRECTS} redirects")
        target = location.decode(errors="replace")
        try:
            self.url = urljoin(self.url, target)
        except ValueError:
            self.url = target
        if not is_http_url(self.url):
            raise ImageGoneError(
                f"The image's URL redirects to something that is no http:// or https:// URL: {short(self.url)}."
            )


def policy(retries: Retries | None) -> dict[str, Any]:
    """Return the arguments for ``tenacity.Retrying`` and ``AsyncRetrying``: what may mend is tried again."""
    return (retries or Retries()).tenacity() | {"retry": retry_if_exception(_may_mend)}


def _may_mend(error: BaseException) -> bool:
    return isinstance(error, ImageError) and error.retry_safe


def place_of(url: str) -> tuple[str, str]:
    """Return what proxy, certificates and public addresses depend on: looking them up takes longer than an image."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def check_url(url: Any) -> None:
    """Refuse what is no http(s) URL.

    :raises InvalidRequestError: it is none.
    """
    if not is_http_url(url):
        raise InvalidRequestError(f"An image can be fetched from an http:// or https:// URL, not {short(url)}.")


def check_status(status: int, retry_after: str | None, url: str) -> None:
    """Refuse an answer that is not an image.

    :raises ImageGoneError: its status is 4xx.
    :raises ImageDownloadError: it is another than 200, or a 4xx that may pass.
    """
    if status == 200:
        return
    kind: type[ImageError] = ImageDownloadError
    if 400 <= status < 500 and status not in (408, 425, 429):
        kind = ImageGoneError
    wait = seconds_to_wait(retry_after)
    raise kind(f"The image at {shown(url)} could not be fetched.", http_status=status, retry_after=wait)


def failed(url: str, reason: str) -> ImageDownloadError:
    """Return the error for a download that failed on the way."""
    return ImageDownloadError(f"The image at {shown(url)} could not be fetched: {reason}.")


def shown(url: str) -> str:
    """Return a URL fit for logs: its query string may be a signature, and its login a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
