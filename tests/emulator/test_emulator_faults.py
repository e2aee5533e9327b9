"""Every kind of planned fault, as a client meets it."""

from __future__ import annotations

import io
import time
from typing import Any

import pytest
import requests
from PIL import Image

API = ["create", "get", "get_credits", "pre_url"]


@pytest.fixture
def call(caller):
    """Make a request that is right in itself to an endpoint."""

    def make(endpoint: str, **options: Any) -> requests.Response:
        if endpoint == "image":
            return requests.get(image_url, timeout=10, **options)
        if endpoint == "upload":
            return requests.post(form["url"], data=form["fields"], files={"file": ("a.png", photo)}, timeout=10)
        return caller.post(endpoint, bodies[endpoint], **options)

    (image_url,) = caller.generate()
    form = caller.data("pre_url", {"image_name": "a.png", "content_type": "image/png"})["upload_url"]
    photo = b"\x89PNG\r\n\x1a\n..."
    bodies = {
        "create": caller.order(),
        "get": {"task_id": caller.create()},
        "get_credits": None,
        "pre_url": {"image_name": "a.png", "content_type": "image/png"},
    }
    return make


@pytest.fixture
def bought(caller, call):
    """Tell how many purchases there were since the test began."""
    before = caller.emulator.report()["bought"]
    return lambda: caller.emulator.report()["bought"] - before


@pytest.mark.parametrize("endpoint", [*API, "upload", "image"])
def test_http_error_with_an_envelope_and_retry_after(caller, call, bought, endpoint):
    caller.emulator.plan(endpoint, "http_error", status=503, times=2, retry_after=1)
    for _ in range(2):
        answer = call(endpoint)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert answer.json() == {"code": 0, "message": "Service Unavailable"}
    assert bought() == 0
    assert call(endpoint).status_code in {200, 204}
    assert caller.emulator.report()["faults_used"] == 2
    assert caller.emulator.report()["faults"][0]["used"] == 2


def test_http_error_bodies_and_a_date_to_retry_after(caller, call):
    date = "Wed, 21 Oct 2026 07:28:00 GMT"
    caller.emulator.plan("get", "http_error", status=429, body="text", message="slow down", retry_after=date)
    caller.emulator.plan("get", "http_error", status=599, body="empty")
    first, second = call("get"), call("get")
    assert (first.status_code, first.text, first.headers["Retry-After"]) == (429, "slow down", date)
    assert (second.status_code, second.content) == (599, b"")


@pytest.mark.parametrize("status", [200, 502])
def test_html(caller, call, bought, status):
    caller.emulator.plan("create", "html", status=status)
    answer = call("create")
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>")
    assert bought() == 0


def test_refuse(caller, call, bought):
    caller.emulator.plan("create", "refuse", code=2, message="Invalid API key.", field="msg", status=401)
    answer = call("create")
    assert (answer.status_code, answer.json()) == (401, {"code": 2, "msg": "Invalid API key."})
    assert bought() == 0


@pytest.mark.parametrize("endpoint", [*API, "upload", "image"])
@pytest.mark.parametrize("kind", ["close_before", "close_after"])
def test_the_connection_is_closed_without_an_answer(caller, call, endpoint, kind):
    caller.emulator.plan(endpoint, kind)
    with pytest.raises(requests.ConnectionError):
        call(endpoint)
    assert call(endpoint).ok


def test_only_the_connection_of_that_request_is_closed(caller):
    url = f"{caller.emulator.url}/api/task/get_credits"
    with requests.Session() as one, requests.Session() as two:
        for session in (one, two):
            assert session.post(url, headers=caller.headers, timeout=10).ok
        caller.emulator.plan("get_credits", "close_after")
        with pytest.raises(requests.ConnectionError):
            one.post(url, headers=caller.headers, timeout=2)
        assert two.post(url, headers=caller.headers, timeout=10).ok


@pytest.mark.parametrize(("kind", "purchases"), [("close_before", 0), ("close_after", 1)])
def test_whether_a_create_whose_answer_was_lost_was_bought(caller, call, bought, kind, purchases):
    caller.emulator.plan("create", kind)
    with pytest.raises(requests.ConnectionError):
        call("create")
    assert bought() == purchases


@pytest.mark.parametrize(("when", "purchases"), [("before", 0), ("after", 1)])
def test_a_delay_is_before_or_after_the_effect(caller, call, bought, when, purchases):
    caller.emulator.plan("create", "delay", seconds=60, when=when)
    with pytest.raises(requests.ReadTimeout):
        call("create", **{"timeout": 0.3})
    assert bought() == purchases


def test_a_delayed_answer_is_the_answer(caller, call):
    caller.emulator.plan("get", "delay", seconds=0.2)
    began = time.monotonic()
    assert call("get").json()["code"] == 1
    assert time.monotonic() - began >= 0.2


def test_malformed(caller, call, bought):
    caller.emulator.plan("create", "malformed", body="{'code': 1}")
    assert call("create").text == "{'code': 1}"
    assert bought() == 1


@pytest.mark.parametrize("endpoint", [*API, "image"])
def test_truncated_has_the_whole_length_but_half_the_body(caller, call, endpoint):
    caller.emulator.plan(endpoint, "truncated")
    answer = call(endpoint, stream=True)
    assert answer.status_code == 200
    with pytest.raises(requests.RequestException):
        _ = answer.content


@pytest.mark.parametrize("chunked", [False, True])
def test_oversized(caller, call, bought, chunked):
    caller.emulator.plan("create", "oversized", bytes=1_500_000, chunked=chunked)
    answer = call("create")
    assert len(answer.content) == 1_500_000
    assert ("Content-Length" in answer.headers) != chunked
    assert answer.json()["code"] == 1
    assert bought() == 1


def test_data_replaces_and_deletes(caller, call):
    caller.emulator.plan("get", "data", set={"status": 9}, delete=["task_id"])
    assert call("get").json() == {"code": 1, "message": "success", "data": {"status": 9}}


def test_data_leaves_a_refusal_without_data_alone(caller):
    caller.emulator.plan("get", "data", set={"status": 9})
    assert caller.post("get", {}).json()["code"] == 0


def test_fail_and_stuck(caller, clock):
    caller.emulator.plan("create", "fail")
    caller.emulator.plan("create", "stuck")
    failed, stuck, normal = caller.create(), caller.create(), caller.create()
    clock.move(1_000_000)
    assert [caller.get(generation)["status"] for generation in (failed, stuck, normal)] == [3, 1, 2]
    assert caller.emulator.report()["generations"] == {"processing": 1, "completed": 1, "failed": 1}


@pytest.mark.parametrize(
    ("parameters", "left"),
    [({}, 2), ({"count": 2}, 1), ({"count": 4}, 0)],
)
def test_missing_urls(caller, parameters, left):
    caller.emulator.plan("create", "missing_urls", **parameters)
    assert len(caller.generate(num_outputs=3)) == left


@pytest.mark.parametrize(
    ("urls", "shown"), [("null", {"result_urls": None}), ("absent", {}), ("empty", {"result_urls": []})]
)
def test_completed_without_urls(caller, clock, urls, shown):
    caller.emulator.plan("create", "missing_urls", urls=urls)
    generation_id = caller.create()
    clock.move(10)
    assert caller.get(generation_id) == {"task_id": generation_id, "status": 2, **shown}


def test_truncated_image_is_well_formed_http(caller, call):
    whole = call("image").content
    caller.emulator.plan("image", "truncated_image", keep=0.25)
    assert call("image").content == whole[: len(whole) // 4]


@pytest.mark.parametrize("actual", ["png", "jpeg"])
def test_mislabelled_image(caller, call, actual):
    caller.emulator.plan("image", "mislabelled", actual=actual)
    answer = call("image")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).format == actual.upper()


def test_html_mislabelled_as_an_image(caller, call):
    caller.emulator.plan("image", "mislabelled", actual="html")
    answer = call("image")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.text.startswith("<!DOCTYPE html>")


def test_slow_trickles(caller, call):
    whole = call("image").content
    caller.emulator.plan("image", "slow", bytes=len(whole) // 3, pause=0.1)
    began = time.monotonic()
    assert call("image").content == whole
    assert time.monotonic() - began >= 0.2


def test_skip_counts_requests_and_every_fault_counts_on_its_own(caller, call):
    caller.emulator.plan("get", "http_error", status=500)
    caller.emulator.plan("get", "http_error", status=502, skip=2)
    assert [call("get").status_code for _ in range(4)] == [500, 200, 502, 200]


def test_a_fault_everywhere_falls_only_where_it_is_possible(caller, call):
    caller.emulator.plan("*", "mislabelled", actual="html")
    assert call("get").json()["code"] == 1
    assert call("image").text.startswith("<!DOCTYPE html>")


def test_probability_goes_on_and_may_be_limited(caller, call):
    caller.emulator.plan("get", "http_error", probability=0.5)
    statuses = [call("get").status_code for _ in range(60)]
    assert 10 < statuses.count(500) < 50
    caller.emulator.clear_faults()
    caller.emulator.plan("get", "http_error", probability=1, times=2)
    assert [call("get").status_code for _ in range(3)] == [500, 500, 200]


@pytest.mark.parametrize(
    ("endpoint", "kind", "parameters", "message"),
    [
        ("gett", "html", {}, "endpoint must be one of create, get, get_credits, image, pre_url, upload, *, not 'gett'"),
        ("get", "explode", {}, "kind must be one of http_error, html"),
        ("get", "stuck", {}, "stuck is not possible on get, only on create"),
        ("get", "http_error", {"statu": 500}, "statu is not a parameter of http_error"),
        ("get", "http_error", {"status": 200}, "status of http_error must be an integer from 400 to 599, not 200"),
        ("get", "http_error", {"status": True}, "status of http_error must be an integer"),
        ("get", "http_error", {"body": "xml"}, "body of http_error must be envelope or text or empty"),
        ("get", "http_error", {"retry_after": "später"}, "retry_after of http_error must be seconds, or an HTTP date"),
        ("get", "http_error", {"times": 0}, "times of http_error must be"),
        ("get", "http_error", {"probability": 2}, "probability of http_error must be"),
        ("get", "data", {"delete": "status"}, "delete of data must be an array of strings"),
    ],
)
def test_what_can_not_be_planned_is_refused(caller, endpoint, kind, parameters, message):
    plan = {"endpoint": endpoint, "kind": kind, **parameters}
    answer = requests.post(f"{caller.emulator.url}/_emulator/faults", json=[{"endpoint": "get", "kind": "html"}, plan])
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert caller.emulator.report()["faults"] == []
    with pytest.raises(ValueError, match=r"must be|is not"):
        caller.emulator.plan(endpoint, kind, **parameters)
