"""Fetches a result image into a local file and checks it there. Knows no API key: results are on another host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import requests
from tenacity import Retrying

from airflow_provider_qwenimage.api import downloading
from airflow_provider_qwenimage.api.body import pieces
from airflow_provider_qwenimage.api.connections import NotConnected, Session
from airflow_provider_qwenimage.api.downloading import MAX_BYTES, Downloaded
from airflow_provider_qwenimage.api.errors import ImageError
from airflow_provider_qwenimage.api.hosts import check_public
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.settings import check_certificates

Route = tuple[requests.PreparedRequest, Mapping[str, Any]]  # a request, but for its URL, and the environment


class Downloader:
    """Fetches images; safe to use from several threads. ``close`` it at the end: connections are kept.

    Proxies and CA bundles are read from the environment once for each host.

    :param retries: when a download is tried again.
    :param timeout: seconds until a connection must stand, and between two pieces of the body.
    :param time_limit: seconds that one download may take.
    :param max_bytes: longest body that is accepted.
    :param public_only: whether URLs that lead to a private or loopback address are refused.
    :param sleep: waits between attempts, seconds; None for a wait that ``stop`` ends.
    """

    def __init__(
        self,
        *,
        retries: Retries | None = None,
        timeout: float = 30.0,
        time_limit: float = 600.0,
        max_bytes: int = MAX_BYTES,
        public_only: bool = False,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._stopped = threading.Event()
        self._timeout = timeout
        self._time_limit = time_limit
        self._max_bytes = max_bytes
        self._public_only = public_only
        self._retrying = Retrying(**downloading.policy(retries), sleep=sleep or self._pause)
        self._session = Session(self._until, public_only=public_only)
        self._routes: dict[tuple[str, str], Route] = {}
        self._of_thread = threading.local()

    def close(self) -> None:
        """Close the connections that are kept. Further calls open new ones."""
        self._session.close()

    def stop(self) -> None:
        """End the downloads that are under way in other threads: they raise an ``ImageError``, and so do further ones.

        One that is just connecting ends when it has, ``timeout`` seconds later at most.
        """
        self._stopped.set()
        self._session.break_off()

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
        try:
            return self._fetch_once(url, file)
        except ImageError as error:  # most downloads end above, and need no machinery for retries
            first = [error]

        def again() -> Downloaded:
            if first:
                raise first.pop()
            return self._fetch_once(url, file)

        downloaded: Downloaded = self._retrying(again)
        return downloaded

    def _pause(self, seconds: float) -> None:
        self._stopped.wait(seconds)

    def _until(self) -> float:
        """Return when the download of this thread must be complete, ``time.monotonic()`` seconds."""
        until: float = time.monotonic() if self._stopped.is_set() else self._of_thread.until
        return until

    def _fetch_once(self, url: str, file: BinaryIO) -> Downloaded:
        self._check_not_stopped(url)
        target = downloading.Target(file, url, self._max_bytes)
        self._of_thread.until = time.monotonic() + self._time_limit
        try:
            with self._follow(url) as answer:
                downloading.check_status(answer.status_code, answer.headers.get("Retry-After"), url)
                for piece in pieces(answer):
                    self._check_not_stopped(url)
                    target.count(piece)
                    target.write((piece,))
        except (NotConnected, requests.RequestException) as error:
            raise downloading.failed(url, _reason(error)) from error
        self._check_not_stopped(url)  # a body without a length looks complete where it was broken off
        return target.finish()

    def _check_not_stopped(self, url: str) -> None:
        if self._stopped.is_set():
            raise ImageError(f"The image at {downloading.shown(url)} was not fetched: the download was stopped.")

    def _follow(self, url: str) -> requests.Response:
        """Get the URL, and where it redirects to; each address is judged before it is called."""
        hops = downloading.Hops(url)
        while True:
            response = self._get(hops.url)
            if not response.is_redirect:
                return response
            response.close()
            hops.follow(response.headers["Location"].encode("latin-1"))

    def _get(self, url: str) -> requests.Response:
        prepared, environment = self._route(url)
        request = prepared.copy()
        request.url = url  # requests decodes some escapes in a URL, and a signature may cover them as they are
        return self._session.send(request, timeout=self._timeout, allow_redirects=False, **environment)

    def _route(self, url: str) -> Route:
        """Return how to get to a URL's host, and judge it; once for each.

        What a name leads to is judged again by the session, whenever it connects.
        """
        place = downloading.place_of(url)
        if place not in self._routes:
            if self._public_only:
                check_public(url)
            check_certificates(url)
            request = self._session.prepare_request(requests.Request("GET", url))
            self._routes[place] = request, self._session.merge_environment_settings(url, {}, True, None, None)
        return self._routes[place]


def _reason(error: Exception) -> str:
    return "no answer in time" if isinstance(error, requests.Timeout) else "the connection failed or broke"
