"""Sends calls with ``requests``: the client of the worker."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, TypeVar

import requests
from tenacity import Retrying
from urllib3.exceptions import LocationParseError

from airflow_provider_qwenimage.api import wire
from airflow_provider_qwenimage.api.body import pieces
from airflow_provider_qwenimage.api.connections import NotConnected, Session
from airflow_provider_qwenimage.api.errors import NotSentError, QwenImageError, ServiceError
from airflow_provider_qwenimage.api.models import Generation, GenerationRequest, Submission
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.rules import MAX_UPLOAD_BYTES
from airflow_provider_qwenimage.api.settings import Settings, check_certificates
from airflow_provider_qwenimage.api.upload import InputImage, check_input, send

Answer = TypeVar("Answer")


class QwenImageClient:
    """The service, call by call. Proxies and CA bundles come from the environment, as ``requests`` reads them.

    Every method raises a ``QwenImageError``: see ``api.errors``.

    :param settings: address, key, time-outs.
    :param retries: when a call is sent again; a create only if nothing can have been bought.
    :param sleep: waits between attempts, seconds.
    :raises InvalidSettingsError: the environment names a CA bundle that is not there.
    """

    def __init__(
        self, settings: Settings, *, retries: Retries | None = None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        check_certificates(settings.base_url)
        self.settings = settings
        self._retrying = Retrying(**(retries or Retries()).tenacity(), sleep=sleep)
        self._session = Session(self._until)

    def create_task(self, request: GenerationRequest) -> Submission:
        """Buy a generation.

        :return: its id, and the service's estimate in seconds.
        :raises UnknownOutcomeError: the answer was lost; it may have been charged.
        """
        return self._call(wire.create(request))

    def get_task(self, generation_id: str) -> Generation:
        """Ask how far a generation is; costs nothing.

        :raises NotFoundError: the service does not know it.
        :raises NoImagesError: it is completed without images.
        """
        return self._call(wire.get(generation_id))

    def get_credits(self) -> float:
        """Ask for the account's balance in credits; costs nothing."""
        return self._call(wire.get_credits())

    def upload_image(self, file: BinaryIO, *, max_bytes: int = MAX_UPLOAD_BYTES) -> str:
        """Upload an input image; costs nothing. A try that fails is made again with a new form.

        :param file: a JPEG or PNG, open for reading in binary, seekable.
        :param max_bytes: longest file that is accepted.
        :return: its public URL, for ``image_urls``.
        :raises InvalidRequestError: it is no whole JPEG or PNG, or too long; nothing was sent.
        :raises UploadError: the storage did not take it.
        """
        image = check_input(file, max_bytes)
        url: str = self._retrying(self._upload, image)
        return url

    def _upload(self, image: InputImage) -> str:
        form = self._send(wire.upload_form(image.name, image.content_type))
        return send(form, image, (self.settings.connect_timeout, self.settings.read_timeout))

    def close(self) -> None:
        """Close the connections that are kept open between calls."""
        self._session.close()

    def __enter__(self) -> QwenImageClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, call: wire.Call[Answer]) -> Answer:
        answer: Answer = self._retrying(self._send, call)
        return answer

    def _send(self, call: wire.Call[Answer]) -> Answer:
        handled = sys.exc_info()[1]  # by the caller, just now
        try:
            with self._connections(call) as session:
                reply = self._exchange(session, call)
        except (NotConnected, requests.RequestException, LocationParseError) as error:
            _clear_frames(error, handled)
            raise _as_error(call, error, self.settings.host) from error
        return wire.read(call, reply)

    @contextmanager
    def _connections(self, call: wire.Call[Answer]) -> Iterator[requests.Session]:
        """Give the session for a call: a kept connection may have died unseen, so a call that buys gets a new one."""
        if not call.buys:
            yield self._session
            return
        with Session(self._until) as session:
            yield session

    def _until(self) -> float:
        """Return when an answer that is waited for from now on must be complete, ``time.monotonic()`` seconds."""
        return time.monotonic() + self.settings.read_timeout

    def _exchange(self, session: requests.Session, call: wire.Call[Answer]) -> wire.Reply:
        settings = self.settings
        with session.post(
            settings.url(call.path),
            data=call.content(),
            headers=settings.headers(),
            timeout=(settings.connect_timeout, settings.read_timeout),
            allow_redirects=False,  # a redirect would carry the key to another place
            stream=True,
        ) as response:
            retry_after = response.headers.get("Retry-After")
            return wire.Reply(response.status_code, _body(response), retry_after, settings.api_key)


def _body(response: requests.Response) -> bytes:
    """Return the body, cut one byte past the size limit so that the reader sees that it is too long."""
    body = bytearray()
    for piece in pieces(response):
        body += piece
        if len(body) > wire.MAX_REPLY_BYTES:
            break
    return bytes(body[: wire.MAX_REPLY_BYTES + 1])


def _clear_frames(error: BaseException | None, until: BaseException | None) -> None:
    """Empty the frames that an error has come through: ``http.client`` has the request there as it is sent, with the
    key, and loggers that show the variables of a traceback would show it.

    :param until: an earlier error, which is left as it is.
    """
    while error and error is not until:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _as_error(call: wire.Call[Answer], error: Exception, host: str) -> QwenImageError:
    if isinstance(error, NotConnected):
        return NotSentError(f"Could not connect to {host} for the {call.name}: {error}.")
    if isinstance(error, _UNUSABLE):
        return NotSentError(f"Could not connect to {host} for the {call.name}: {UNUSABLE_ADDRESS}.")
    what = "timed out" if isinstance(error, requests.Timeout) else "was lost"
    return wire.lost_answer(call, ServiceError(f"The answer of {host} to the {call.name} {what}."))


_UNUSABLE = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationParseError)
UNUSABLE_ADDRESS = "its address, or the proxy's, can't be used"
