"""Fetches a result image into a local file and checks it there. Knows no API key: results are on another host."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import requests
from tenacity import Retrying, retry_if_exception

from airflow_provider_qwenimage.api.body import Session, pieces
from airflow_provider_qwenimage.api.errors import (
    BrokenImageError,
    ImageDownloadError,
    ImageError,
    ImageGoneError,
    InvalidRequestError,
)
from airflow_provider_qwenimage.api.hosts import PublicAdapter, check_public
from airflow_provider_qwenimage.api.images import ImageFacts, inspect
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.rules import is_http_url, short
from airflow_provider_qwenimage.api.settings import check_certificates
from airflow_provider_qwenimage.api.wire import seconds_to_wait

MAX_REDIRECTS = 5


@dataclass(frozen=True)
class Downloaded:
    """What was fetched: the image's facts, its length in bytes and the hex SHA-256 of its bytes."""

    facts: ImageFacts
    bytes: int
    sha256: str


class Downloader:
    """Fetches images; safe to use from several threads, each call has a connection of its own.

    :param retries: when a download is tried again.
    :param timeout: seconds until a connection must stand, and between two pieces of the body.
    :param time_limit: seconds that one download may take.
    :param max_bytes: longest body that is accepted.
    :param public_only: whether URLs that lead to a private or loopback address are refused.
    :param sleep: waits between attempts, seconds.
    """

    def __init__(
        self,
        *,
        retries: Retries | None = None,
        timeout: float = 30.0,
        time_limit: float = 600.0,
        max_bytes: int = 256 * 1024 * 1024,
        public_only: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._timeout = timeout
        self._time_limit = time_limit
        self._max_bytes = max_bytes
        self._public_only = public_only
        policy = (retries or Retries()).tenacity() | {"retry": retry_if_exception(_may_mend)}
        self._retrying = Retrying(**policy, sleep=sleep)

    def fetch(self, url: str, file: BinaryIO) -> Downloaded:
        """Write the image behind ``url`` to ``file`` and check that it is whole.

        :param url: used unchanged, its query string included.
        :param file: open for reading and writing in binary, seekable; whatever it holds is replaced.
        :raises InvalidRequestError: ``url`` is not http(s).
        :raises ImageGoneError: it answers 4xx.
        :raises ForbiddenHostError: it leads to a private address, and that is not allowed.
        :raises ImageDownloadError: it could not be fetched.
        :raises BrokenImageError: what was fetched is not a whole image.
        """
        if not is_http_url(url):
            raise InvalidRequestError(f"An image can be fetched from an http:// or https:// URL, not {short(url)}.")
        downloaded: Downloaded = self._retrying(self._fetch_once, url, file)
        return downloaded

    def _fetch_once(self, url: str, file: BinaryIO) -> Downloaded:
        file.seek(0)
        file.truncate()
        until = time.monotonic() + self._time_limit
        try:
            with self._session() as session, self._follow(session, url) as response:
                _check_status(response, url)
                length, sha256 = self._copy(response, file, until)
        except requests.RequestException as error:
            raise ImageDownloadError(f"The image at {shown(url)} could not be fetched: {_reason(error)}.") from error
        file.flush()
        return Downloaded(inspect(file), length, sha256)

    def _session(self) -> requests.Session:
        session = Session()
        if self._public_only:
            session.mount("http://", PublicAdapter())
            session.mount("https://", PublicAdapter())
        return session

    def _follow(self, session: requests.Session, url: str) -> requests.Response:
        """Get the URL, and where it redirects to; each address is judged before it is called."""
        for _ in range(MAX_REDIRECTS + 1):
            if self._public_only:
                check_public(url)
            response = self._get(session, url)
            if not response.is_redirect:
                return response
            response.close()
            url = _target(response, url)
            if not is_http_url(url):
                raise ImageGoneError(
                    f"The image's URL redirects to something that is no http:// or https:// URL: {short(url)}."
                )
        raise requests.TooManyRedirects

    def _get(self, session: requests.Session, url: str) -> requests.Response:
        check_certificates(url)
        request = session.prepare_request(requests.Request("GET", url))
        request.url = url  # requests decodes some escapes in a URL, and a signature may cover them as they are
        environment = session.merge_environment_settings(url, {}, True, None, None)
        return session.send(request, timeout=self._timeout, allow_redirects=False, **environment)

    def _copy(self, response: requests.Response, file: BinaryIO, until: float) -> tuple[int, str]:
        length, digest = 0, hashlib.sha256()
        for piece in pieces(response, until):
            length += len(piece)
            if length > self._max_bytes:
                raise BrokenImageError(f"The image at {shown(response.url)} is longer than {self._max_bytes:,} bytes.")
            digest.update(piece)
            file.write(piece)
        return length, digest.hexdigest()


def _target(response: requests.Response, url: str) -> str:
    """Return where an answer redirects to; it may be no URL at all."""
    target = response.headers["Location"].encode("latin-1").decode(errors="replace")  # most send UTF-8
    try:
        return urljoin(url, target)
    except ValueError:
        return target


def shown(url: str) -> str:
    """Return a URL fit for logs: its query string may be a signature, and its login a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _check_status(response: requests.Response, url: str) -> None:
    status = response.status_code
    if status == 200:
        return
    kind: type[ImageError] = ImageDownloadError
    if 400 <= status < 500 and status not in (408, 425, 429):
        kind = ImageGoneError
    wait = seconds_to_wait(response.headers.get("Retry-After"))
    raise kind(f"The image at {shown(url)} could not be fetched.", http_status=status, retry_after=wait)


def _may_mend(error: BaseException) -> bool:
    return isinstance(error, ImageError) and error.retry_safe


def _reason(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.TooManyRedirects):
        return f"more than {MAX_REDIRECTS} redirects"
    return "the connection failed or broke"
