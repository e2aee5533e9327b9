"""Uploads, and the image host."""

from __future__ import annotations

from typing import Any

import pytest
import requests

PNG = {"image_name": "photo.png", "content_type": "image/png"}


@pytest.fixture
def form(caller):
    return caller.data("pre_url", PNG)


def send(form: dict[str, Any], parts: list[tuple[str, Any]], **options: Any) -> requests.Response:
    """Send the parts in this order; a text is sent as a field, a tuple as a file."""
    files = [(name, value if isinstance(value, tuple) else (None, value)) for name, value in parts]
    return requests.post(form["upload_url"]["url"], files=files, timeout=10, **options)


def good_parts(form: dict[str, Any], photo: bytes) -> list[tuple[str, Any]]:
    return [*form["upload_url"]["fields"].items(), ("file", ("photo.png", photo))]


def test_an_upload_can_be_had_at_its_image_url(caller, form, photo):
    answer = send(form, good_parts(form, photo))
    assert (answer.status_code, answer.content) == (204, b"")
    served = requests.get(form["image_url"])
    assert (served.content, served.headers["Content-Type"]) == (photo, "image/png")
    report = caller.emulator.report()
    assert (report["uploads"], report["images_served"], report["violations"]) == (1, 1, [])


def test_a_form_can_be_sent_again_after_its_answer_was_lost(caller, form, photo):
    caller.emulator.plan("upload", "close_after")
    with pytest.raises(requests.ConnectionError):
        send(form, good_parts(form, photo))
    assert send(form, good_parts(form, photo)).status_code == 204


def refused(caller: Any, answer: requests.Response) -> str:
    """Check that the upload was refused as a violation, and return the message."""
    assert answer.status_code in {400, 403, 405}
    assert answer.json()["code"] == 0
    assert caller.emulator.report()["violations"] == [{"endpoint": "upload", "message": answer.json()["message"]}]
    assert caller.emulator.report()["uploads"] == 0
    return answer.json()["message"]


def test_the_file_must_be_last(caller, form, photo):
    parts = good_parts(form, photo)
    assert refused(caller, send(form, [parts[0], parts[-1], *parts[1:-1]])) == "file must be the last part"


@pytest.mark.parametrize("index", range(1, 8))
def test_every_part_must_be_there(caller, form, photo, index):
    parts = good_parts(form, photo)
    name = parts.pop(index)[0]
    assert refused(caller, send(form, parts)) == f"{name} must be sent exactly once"


@pytest.mark.parametrize("index", range(7))
def test_no_field_may_be_sent_twice(caller, form, photo, index):
    parts = good_parts(form, photo)
    assert refused(caller, send(form, [parts[index], *parts])) == f"{parts[index][0]} must be sent exactly once"


@pytest.mark.parametrize("index", range(1, 7))
def test_no_field_may_be_changed(caller, form, photo, index):
    parts = good_parts(form, photo)
    name, value = parts[index]
    parts[index] = (name, f"{value}x")
    assert refused(caller, send(form, parts)) == f"{name} must be sent as it was returned"


def test_the_key_must_be_one_that_was_handed_out(caller, form, photo):
    for parts in (good_parts(form, photo)[1:], [("key", "uploads/other.png"), *good_parts(form, photo)[1:]]):
        caller.emulator.state.reset()
        assert refused(caller, send(form, parts)) == "key must be that of a form handed out by pre_url"


def test_no_other_field_may_be_sent(caller, form, photo):
    assert (
        refused(caller, send(form, [("acl", "public"), *good_parts(form, photo)])) == "acl is not a field of the form"
    )


def test_the_file_must_be_a_file(caller, form):
    parts = [*form["upload_url"]["fields"].items(), ("file", "text")]
    assert refused(caller, send(form, parts)) == "file must be a file, with a file name"


def test_the_file_must_be_what_was_announced(caller, form):
    assert refused(caller, send(form, good_parts(form, b"\xff\xd8\xff..."))) == "Invalid image format"


@pytest.mark.parametrize("size", [10 * 1024 * 1024 + 1, 12 * 1024 * 1024])
def test_the_file_must_be_at_most_10_mb(caller, form, photo, size):
    assert refused(caller, send(form, good_parts(form, photo.ljust(size)))) == "file must be at most 10 MB"


def test_10_mb_are_allowed(form, photo):
    assert send(form, good_parts(form, photo.ljust(10 * 1024 * 1024))).status_code == 204


def test_the_form_expires_after_10_minutes(caller, form, photo, clock):
    clock.move(600)
    assert send(form, good_parts(form, photo)).status_code == 204
    clock.move(1)
    answer = send(form, good_parts(form, photo))
    assert (answer.status_code, answer.json()["code"]) == (403, 0)
    assert "expired" in answer.json()["message"]


def test_the_api_key_must_not_be_sent_along(caller, form, photo):
    answer = send(form, good_parts(form, photo), headers={"Api-Key": caller.emulator.api_key})
    assert refused(caller, answer) == "Api-Key must not be sent to this host"


def test_it_must_be_a_multipart_post(caller, form):
    url = form["upload_url"]["url"]
    assert requests.put(url).status_code == 405
    assert requests.post(url, json={}).json()["message"] == "Content-Type must be multipart/form-data"
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = requests.post(url, data=b"nonsense", headers={"Content-Type": content_type})
        assert answer.json()["message"] == "The body must be multipart/form-data"
    assert len(caller.emulator.report()["violations"]) == 4


def test_a_result_is_served_under_its_url_only(caller):
    (url,) = caller.generate()
    assert requests.get(url).headers["Content-Type"] == "image/jpeg"
    bare, _, query = url.partition("?")
    for wrong in (bare, url[:-1], f"{url}&a=b", f"{bare}?{query.replace('%2F', '/')}"):
        answer = requests.get(wrong)
        assert (answer.status_code, answer.json()["code"]) == (403, 0)
    report = caller.emulator.report()
    assert report["images_served"] == 1
    assert [violation["endpoint"] for violation in report["violations"]] == ["image"] * 4


def test_a_signature_expires(caller, clock):
    (url,) = caller.generate()
    clock.move(86_400)
    assert requests.get(url).status_code == 403
    assert caller.emulator.report()["violations"] == []


def test_urls_can_do_without_a_signature(start):
    caller = start(signed_urls=False)
    (url,) = caller.generate()
    assert url.endswith("_0.jpeg")
    assert requests.get(url).ok


def test_what_is_not_there_is_404(caller):
    generation_id = caller.create()
    url = caller.emulator.url
    for path in (f"images/{generation_id}_0.jpeg", f"uploads/{'0' * 32}.png", "images/x", f"images/{'0' * 32}_0.jpeg"):
        assert requests.get(f"{url}/{path}").status_code == 404


def test_the_image_host_takes_get_and_head_without_the_api_key(caller):
    (url,) = caller.generate()
    head = requests.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(requests.get(url).content)
    assert requests.post(url).status_code == 405
    assert requests.get(url, headers={"Api-Key": caller.emulator.api_key}).status_code == 400
    assert caller.emulator.report()["images_served"] == 1
