"""Sends an input image to the service's storage. Checked before any request; the API key goes to the service alone."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import BinaryIO

import requests

from airflow_provider_qwenimage.api.body import pieces
from airflow_provider_qwenimage.api.connections import NotConnected, Session
from airflow_provider_qwenimage.api.errors import BrokenImageError, InvalidRequestError, UploadError
from airflow_provider_qwenimage.api.images import inspect
from airflow_provider_qwenimage.api.models import UploadForm
from airflow_provider_qwenimage.api.rules import MAX_UPLOAD_BYTES
from airflow_provider_qwenimage.api.text import printable

ACCEPTED = {"image/jpeg": "jpg", "image/png": "png"}


@dataclass(frozen=True)
class InputImage:
    """An input image that the service accepts, as far as can be told from here."""

    file: BinaryIO
    name: str
    content_type: str


def check_input(file: BinaryIO, max_bytes: int = MAX_UPLOAD_BYTES) -> InputImage:
    """Check that a file is a whole JPEG or PNG within the size limit, by its content.

    :param file: open for reading in binary, seekable.
    :param max_bytes: longest file that is accepted; the service's own limit is published as 10 MB.
    :raises InvalidRequestError: it is not; nothing was sent.
    """
    size = file.seek(0, os.SEEK_END)
    if size > max_bytes:
        raise InvalidRequestError(f"The input image has {size:,} bytes, and {max_bytes:,} are allowed.")
    try:
        content_type = inspect(file).format.content_type
    except BrokenImageError as error:
        raise InvalidRequestError(f"The input image can't be used. {error.message}") from None
    if content_type not in ACCEPTED:
        raise InvalidRequestError(f"The input image is {content_type}, and the service takes JPEG and PNG only.")
    return InputImage(file, f"image.{ACCEPTED[content_type]}", content_type)


def send(form: UploadForm, image: InputImage, timeout: tuple[float, float]) -> str:
    """Post the form: every field once and as it came, the file last.

    :param timeout: seconds to connect, seconds to wait for an answer.
    :return: the image's URL, for ``image_urls``.
    :raises UploadError: the storage did not take it; an expired form answers so too, and a new one may work.
    """
    image.file.seek(0)
    try:
        with (
            Session(lambda: time.monotonic() + timeout[1]) as session,
            session.post(
                form.url,
                data=list(form.fields.items()),
                files={"file": (image.name, image.file, image.content_type)},
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            ) as response,
        ):
            words = _start_of(response)
    except (NotConnected, requests.RequestException) as error:
        raise UploadError("The connection to the service's image storage failed.") from error
    if response.status_code not in (200, 201, 204):
        raise UploadError(
            "The service's image storage refused the image.",
            http_status=response.status_code,
            service_message=words or None,
        )
    return form.image_url


def _start_of(response: requests.Response) -> str:
    """Return what arrives first of an answer: it tells why, and nobody knows how much there is to come."""
    try:
        return printable(next(pieces(response), b"").decode(errors="replace"))
    except requests.RequestException:
        return ""  # the status has been read, and decides
