"""Input images are checked before they leave, and reach the storage as its form asks for."""

from __future__ import annotations

import io
import json
import socket
import time
from typing import Any

import pytest
from api_servers import KEY, Server, closed_port, envelope, http
from PIL import Image

from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    InvalidRequestError,
    QwenImageError,
    UploadError,
)
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.emulator import Emulator


def picture(kind: str) -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (20, 90, 160)).save(file, kind)
    return file


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_image_is_uploaded_and_used(emulator: Emulator, connect: Any, kind: str) -> None:
    """What is uploaded can be generated from; the emulator finds nothing wrong with the form."""
    client = connect(emulator.url)
    url = client.upload_image(picture(kind))
    assert client.create_task(GenerationRequest(prompt="as a watercolor", image_urls=(url,))).generation_id
    report = emulator.report()
    assert (report["uploads"], report["violations"]) == (1, [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<html>", "HTML"),
        (picture("JPEG").getvalue()[:-20], "truncated"),
        (picture("WEBP").getvalue(), "JPEG and PNG only"),
        (picture("GIF").getvalue(), "not a JPEG"),
    ],
)
def test_what_is_no_input_image_is_not_sent(emulator: Emulator, connect: Any, content: bytes, words: str) -> None:
    """The file's content decides, before any request."""
    with pytest.raises(InvalidRequestError, match=words):
        connect(emulator.url).upload_image(io.BytesIO(content))
    assert emulator.requests() == []


def test_what_is_too_long_is_not_sent(emulator: Emulator, connect: Any) -> None:
    """The limit is told with the length."""
    file = picture("PNG")
    size = len(file.getvalue())
    with pytest.raises(InvalidRequestError, match=f"{size} bytes, and {size - 1} are allowed"):
        connect(emulator.url).upload_image(file, max_bytes=size - 1)
    assert emulator.requests() == []


@pytest.mark.parametrize(
    ("endpoint", "kind", "parameters"),
    [
        ("pre_url", "http_error", {"status": 500}),
        ("pre_url", "malformed", {}),
        ("pre_url", "close_before", {}),
        ("pre_url", "data", {"delete": ["image_url"]}),
        ("upload", "http_error", {"status": 403}),
        ("upload", "http_error", {"status": 503}),
        ("upload", "close_before", {}),
        ("upload", "close_after", {}),
        ("upload", "html", {}),
    ],
)
def test_each_try_gets_a_new_form(
    emulator: Emulator, connect: Any, endpoint: str, kind: str, parameters: dict[str, Any]
) -> None:
    """Uploading costs nothing, so whatever fails is made again from the start."""
    if kind == "html":
        parameters = {"status": 502}
    emulator.plan(endpoint, kind, times=3, **parameters)
    client = connect(emulator.url)
    assert client.upload_image(picture("PNG"))
    assert (emulator.report()["requests"]["pre_url"], len(client.sleeps)) == (4, 3)


def test_a_wrong_key_ends_the_upload(emulator: Emulator, connect: Any) -> None:
    """No form, no upload, no second try."""
    client = connect(emulator.url, key="key_wrong")
    with pytest.raises(AuthenticationError):
        client.upload_image(picture("PNG"))
    assert len(emulator.requests()) == 1


def form(url: str) -> bytes:
    """A reply of pre_url that leads to a storage of our own."""
    data = {"upload_url": {"url": url, "fields": {"key": "a/b.png", "policy": "e30="}}, "image_url": f"{url}/b.png"}
    return http(200, envelope(data))


def test_the_form_goes_to_the_storage_without_the_key(connect: Any) -> None:
    """Every field once and as it came, the file last; the key stays with the service."""
    with Server(http(204)) as storage, Server(form(f"{storage.url}/x?y=%2F")) as service:
        assert connect(service.url, retries=NO_RETRIES).upload_image(picture("PNG")) == f"{storage.url}/x?y=%2F/b.png"
        (sent,) = storage.requests
        assert sent.startswith(b"POST /x?y=%2F HTTP/1.1\r\n")
        assert KEY.encode() not in sent
        names = [part.split(b'"')[1] for part in sent.split(b"Disposition: form-data; ")[1:]]
        assert names == [b"key", b"policy", b"file"]
        assert json.loads(service.requests[0].partition(b"\r\n\r\n")[2])["content_type"] == "image/png"


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("target", ["/there", "http://[", "\xff\xfe"])
def test_a_redirect_of_the_storage_is_a_failure(connect: Any, status: int, target: str) -> None:
    """It is not followed, and a target that is no URL does no harm."""
    with Server(http(status, b"", Location=target)) as storage, Server(form(storage.url)) as service:
        with pytest.raises(UploadError) as caught:
            connect(service.url, retries=NO_RETRIES).upload_image(picture("PNG"))
        assert caught.value.http_status == status
        assert len(storage.requests) == 1


def test_an_answer_of_the_storage_without_end(connect: Any) -> None:
    """Neither its length nor its time is without limit, and its status is enough."""

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n<Error><Code>AccessDenied</Code>")
        for _ in range(100):
            connection.sendall(b"x" * 100_000)
            if storage.wait(0.05):
                break

    with Server(endless) as storage, Server(form(storage.url)) as service:
        start = time.monotonic()
        with pytest.raises(UploadError) as caught:
            connect(service.url, retries=NO_RETRIES, connect_timeout=0.3, read_timeout=0.3).upload_image(picture("PNG"))
        assert time.monotonic() - start < 2
        assert str(caught.value).isprintable()


def test_a_storage_that_is_not_there(connect: Any) -> None:
    """The error is about the storage, and nothing was spent."""
    with Server(form(f"http://127.0.0.1:{closed_port()}")) as service, pytest.raises(QwenImageError) as caught:
        connect(service.url, retries=NO_RETRIES).upload_image(picture("PNG"))
    assert type(caught.value) is UploadError
    assert "nothing was generated" in str(caught.value)
