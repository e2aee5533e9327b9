"""Fetches a result image into a local file and checks it there. Knows no API key: results are on another host."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import BinaryIO

import requests
from tenacity import Retrying

from airflow_provider_qwenimage.api import downloading
from airflow_provider_qwenimage.api.body import pieces
from airflow_provider_qwenimage.api.connections import NotConnected, Session
from airflow_provider_qwenimage.api.downloading import MAX_BYTES, Downloaded
from airflow_provider_qwenimage.api.hosts import check_public
from airflow_provider_qwenimage.api.images import inspect
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.settings import check_certificates


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
        max_bytes: int = MAX_BYTES,
        public_only: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._timeout = timeout
        self._time_limit = time_limit
        self._max_bytes = max_bytes
        self._public_only = public_only
        self._retrying = Retrying(**downloading.policy(retries), sleep=sleep)

    def fetch(self, url: str, file: BinaryIO) -> Downloaded:
        """Write the image behind ``url`` to ``file`` and check that it is whole.

        :param url: used unchanged, its query string included.
        :param file: open for reading and writing in binary, seekable; whatever it holds is replaced.
        :raises InvalidRequestError: ``url`` is not http(s).
        :raises ImageGoneError: it answers 4xx.
        :raises ForbiddenHostError: it leads to a private address, and that is not allowed.
        :raises ImageDownloadError: it could not be fetched.
        :raises BrokenImageError: what was fetched is not a whole image.
        :raises ImageTooLongError: it is longer than ``max_bytes``.
        """
        downloading.check_url(url)
        downloaded: Downloaded = self._retrying(self._fetch_once, url, file)
        return downloaded

    def _fetch_once(self, url: str, file: BinaryIO) -> Downloaded:
        target = downloading.Target(file, url, self._max_bytes)
        until = time.monotonic() + self._time_limit
        try:
            with Session(lambda: until, public_only=self._public_only) as session, self._follow(session, url) as answer:
                downloading.check_status(answer.status_code, answer.headers.get("Retry-After"), url)
                for piece in pieces(answer):
                    target.take(piece)
        except (NotConnected, requests.RequestException) as error:
            raise downloading.failed(url, _reason(error)) from error
        file.flush()
        return Downloaded(inspect(file), target.length, target.sha256)

    def _follow(self, session: requests.Session, url: str) -> requests.Response:
        """Get the URL, and where it redirects to; each address is judged before it is called."""
        hops = downloading.Hops(url)
        while True:
            if self._public_only:
                check_public(hops.url)
            response = self._get(session, hops.url)
            if not response.is_redirect:
                return response
            response.close()
            hops.follow(response.headers["Location"].encode("latin-1"))

    def _get(self, session: requests.Session, url: str) -> requests.Response:
        check_certificates(url)
        request = session.prepare_request(requests.Request("GET", url))
        request.url = url  # requests decodes some escapes in a URL, and a signature may cover them as they are
        environment = session.merge_environment_settings(url, {}, True, None, None)
        return session.send(request, timeout=self._timeout, allow_redirects=False, **environment)


def _reason(error: Exception) -> str:
    return "no answer in time" if isinstance(error, requests.Timeout) else "the connection failed or broke"
