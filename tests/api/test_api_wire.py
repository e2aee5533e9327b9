"""Replies are read tolerantly where the contract is silent, and refused with a clear error if they can't be right."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from api_servers import bounded, envelope
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_qwenimage.api import wire
from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    GenerationError,
    InsufficientCreditsError,
    InvalidImageError,
    NoImagesError,
    NotFoundError,
    OverloadedError,
    QwenImageError,
    RejectedError,
    ServiceError,
    TransientError,
    UnexpectedReplyError,
    UnknownOutcomeError,
)
from airflow_provider_qwenimage.api.models import Generation, GenerationRequest, GenerationStatus, Submission

# Copied from the contract page.
CREATED = (
    '{"code": 1, "message": "success", "data": {"task_id": "d425ab4dc256f0ebaa84862b9cea8a3d", "estimated_time": 15}}'
)
COMPLETED = """{"code": 1, "message": "success", "data": {"task_id": "cf0ddb5ad6a0f0c85ab4d1dceb9fd89c", "status": 2,
 "result_urls": ["https://cdn.pixwith.ai/images/cf0ddb5ad6a0f0c85ab4d1dceb9fd89c_0.jpeg"]}}"""
BALANCE = '{"code": 1, "data": {"credits": 500}}'

ID = "cf0ddb5ad6a0f0c85ab4d1dceb9fd89c"
URL = f"https://cdn.pixwith.ai/images/{ID}_0.jpeg"
NOW = datetime(2026, 10, 21, 7, 28, tzinfo=timezone.utc)

CREATE = wire.create(GenerationRequest(prompt="a lighthouse"))
GET = wire.get(ID)
CREDITS = wire.get_credits()
FORM = wire.upload_form("image.png", "image/png")
CALLS = {call.name: call for call in (CREATE, GET, CREDITS, FORM)}
HTML = b"<!DOCTYPE html><html><body>Just a moment...</body></html>"


def read(call: wire.Call[Any], body: bytes | str | dict[str, Any], status: int = 200, **more: Any) -> Any:
    if isinstance(body, dict):
        body = json.dumps(body)
    content = body if isinstance(body, bytes) else body.encode()
    return wire.read(call, wire.Reply(status, content, **more), NOW)


def refused(call: wire.Call[Any], body: Any, status: int = 200, **more: Any) -> QwenImageError:
    with pytest.raises(QwenImageError) as caught:
        read(call, body, status, **more)
    return caught.value


def got(**data: Any) -> dict[str, Any]:
    return {"code": 1, "message": "success", "data": {"task_id": ID, **data}}


# What the contract shows


def test_the_example_of_an_accepted_create() -> None:
    """The page's reply gives the id and the estimate."""
    expected = Submission(generation_id="d425ab4dc256f0ebaa84862b9cea8a3d", estimated_time=15)
    assert read(CREATE, CREATED) == expected


def test_the_example_of_a_completed_generation() -> None:
    """The page's reply gives status and URLs."""
    expected = Generation(generation_id=ID, status=GenerationStatus.COMPLETED, result_urls=(URL,))
    assert read(GET, COMPLETED) == expected


def test_the_example_of_a_balance() -> None:
    """The page's reply has no message, and needs none."""
    assert read(CREDITS, BALANCE) == 500


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (0, "Invalid API KEY", AuthenticationError),
        (0, "Credits not enough", InsufficientCreditsError),
        (0, "Invalid image format", InvalidImageError),
        (0, "Invalid image url", InvalidImageError),
        (2, "Invalid API key. Get a valid API key at https://pixwith.ai/api", AuthenticationError),
        (2, "", AuthenticationError),
        (0, "prompt is required", RejectedError),
    ],
)
@pytest.mark.parametrize("field", ["message", "msg"])
@pytest.mark.parametrize("status", [200, 400, 401, 402, 403, 422])
def test_published_refusals(code: int, message: str, expected: type, field: str, status: int) -> None:
    """The published messages have errors of their own, with either name of the field and any client-error status."""
    error = refused(CREATE, {"code": code, field: message}, status)
    by_status = {401: AuthenticationError, 402: InsufficientCreditsError}
    assert type(error) is (by_status.get(status, RejectedError) if expected is RejectedError else expected)
    assert not error.retry_safe
    assert error.service_message == (message or None)
    assert error.http_status == status
    assert f"HTTP {status}" in str(error)
    assert message in str(error)


@pytest.mark.parametrize("message", ["Task not found", "task does not exist", "No such task", "Invalid task_id"])
def test_a_generation_that_is_not_known(message: str) -> None:
    """Words for "not found" end a wait; the same words for a create do not mean it."""
    assert type(refused(GET, {"code": 0, "message": message})) is NotFoundError
    assert type(refused(CREATE, {"code": 0, "message": message})) is RejectedError


@pytest.mark.parametrize(
    "both", [{"message": None, "msg": "Invalid API KEY"}, {"message": "", "msg": "Invalid API KEY"}]
)
def test_an_empty_message_does_not_hide_the_other_field(both: dict[str, Any]) -> None:
    """Where both names are there, the one that says something is read."""
    error = refused(CREATE, {"code": 0, **both})
    assert type(error) is AuthenticationError
    assert error.service_message == "Invalid API KEY"


@pytest.mark.parametrize("message", [None, 5, ["x"], {"a": 1}, True])
def test_a_message_that_is_no_text_is_ignored(message: Any) -> None:
    """A refusal stays a refusal, whatever stands for its message."""
    error = refused(CREATE, {"code": 0, "message": message})
    assert type(error) is RejectedError
    assert error.service_message is None


# What the contract leaves open


@pytest.mark.parametrize("urls", [{}, {"result_urls": None}, {"result_urls": []}, {"result_urls": [URL]}])
@pytest.mark.parametrize("status", [1, 3])
def test_urls_do_not_matter_unless_completed(urls: dict[str, Any], status: int) -> None:
    """While processing or after a failure, result_urls may be anything that can be found there, and is not used."""
    assert read(GET, got(status=status, **urls)) == Generation(generation_id=ID, status=status)


def test_extra_fields_are_ignored() -> None:
    """New fields at any level do no harm."""
    reply = {**got(status=2, result_urls=[URL], progress=100, seed=4), "request_id": "x", "msg": None}
    assert read(GET, reply).result_urls == (URL,)
    assert read(CREATE, {**json.loads(CREATED), "trace": [1]}).estimated_time == 15


def test_the_id_may_be_left_out_of_an_answer_about_it() -> None:
    """The answer is about what was asked for, unless it says otherwise."""
    assert read(GET, {"code": 1, "data": {"status": 1}}).generation_id == ID


def test_urls_are_kept_unchanged_and_in_order() -> None:
    """Query strings, escapes and the order are the service's."""
    urls = [f"{URL}?X-Amz-Signature=a%2Bb+%2f~", "http://cdn.example:8080/z.png", URL]
    assert read(GET, got(status=2, result_urls=urls)).result_urls == tuple(urls)


@pytest.mark.parametrize("blank", [None, "", " ", "\n\t"])
def test_blank_entries_do_not_lose_the_images_beside_them(blank: Any) -> None:
    """What is missing is left out; what there is, is paid for."""
    second = URL.replace("_0", "_2")
    assert read(GET, got(status=2, result_urls=[URL, blank, second, blank])).result_urls == (URL, second)


def test_a_single_url_needs_no_list() -> None:
    """It is one image, and paid for."""
    assert read(GET, got(status=2, result_urls=URL)).result_urls == (URL,)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (0.5, 0.5), (86_400, 86_400), (86_401, None), (-1, None), (True, None), ("15", None), (None, None)],
)
def test_a_strange_estimate_does_not_lose_a_paid_id(value: Any, expected: float | None) -> None:
    """The id has been paid for; an estimate that can't be used is left out."""
    reply = {"code": 1, "data": {"task_id": ID, "estimated_time": value}}
    assert read(CREATE, reply) == Submission(generation_id=ID, estimated_time=expected)


def test_estimates_that_are_no_numbers_do_not_lose_a_paid_id() -> None:
    """Python reads NaN and Infinity from JSON, so they can arrive."""
    for value in ("NaN", "Infinity", "-Infinity", "1e999", str(10**400)):
        assert read(CREATE, f'{{"code": 1, "data": {{"task_id": "{ID}", "estimated_time": {value}}}}}') == Submission(
            generation_id=ID
        )


@pytest.mark.parametrize("value", ["true", '"7"', "null", "NaN", "Infinity", "1e999", str(10**400)])
def test_a_balance_that_is_no_number(value: str) -> None:
    """Comparing it would say that there are credits, or none."""
    assert "no number of credits" in str(refused(CREDITS, f'{{"code": 1, "data": {{"credits": {value}}}}}'))


def test_a_balance_is_a_float() -> None:
    """Whatever JSON makes of it."""
    for value in ("500", "500.0", "5e2"):
        assert repr(read(CREDITS, f'{{"code": 1, "data": {{"credits": {value}}}}}')) == "500.0"


def test_a_number_as_id_does_not_lose_a_paid_generation() -> None:
    """An id of an unexpected type is still the only handle on it."""
    assert read(CREATE, {"code": 1, "data": {"task_id": 12345}}).generation_id == "12345"


def test_an_id_that_is_no_unicode_is_an_unknown_outcome() -> None:
    """Half of a surrogate pair could never be sent back to ask for the generation."""
    error = refused(CREATE, '{"code": 1, "data": {"task_id": "a\\ud83d"}}')
    assert type(error) is UnknownOutcomeError


@pytest.mark.parametrize("status", [200, 201, 202, 400, 500, 503])
def test_the_body_is_judged_before_the_status(status: int) -> None:
    """An envelope that reports success is a success under any HTTP status."""
    assert read(CREATE, CREATED, status).generation_id == "d425ab4dc256f0ebaa84862b9cea8a3d"


@pytest.mark.parametrize("value", [0, 12.5, 10**12])
def test_balances(value: float) -> None:
    """A balance is any number."""
    assert read(CREDITS, {"code": 1, "data": {"credits": value}}) == value


def test_an_upload_form() -> None:
    """The form's target, its fields in order, and the image's URL are opaque and kept as they came."""
    fields = {"key": "a/b.png", "Content-Type": "image/png", "policy": "eyJ9", "x-amz-signature": "0f"}
    data = {"upload_url": {"url": "https://uploads.pixwith.ai/?x=%2f", "fields": fields}, "image_url": URL}
    form = read(FORM, {"code": 1, "message": "success", "data": data})
    assert (form.url, list(form.fields.items()), form.image_url) == (
        "https://uploads.pixwith.ai/?x=%2f",
        list(fields.items()),
        URL,
    )


# What can't be right

NO_ENVELOPE = [
    b"",
    b" ",
    b"null",
    b"[]",
    b"1",
    b'"success"',
    b"{}",
    b'{"data": {"task_id": "abc"}}',
    b'{"code": true, "data": {"task_id": "abc"}}',
    b'{"code": "1", "data": {"task_id": "abc"}}',
    b'{"code": null, "data": {"task_id": "abc"}}',
    b'{"code": 1.0, "data": {"task_id": "abc"}}',
    b'{"code": 1, "data": ',
    b'{"code": 1, "data": {"task_id": "abc"}} and more',
    b"\xff\xfe\x00",
    b"[" * 100_000,
    HTML,
    b"\n  <html>",
    b"<?xml version='1.0'?><Error/>",
    b"upstream connect error",
]
NOT_IN_DATA: dict[str, list[Any]] = {
    "create": [
        {},
        {"task_id": None},
        {"task_id": ""},
        {"task_id": "  "},
        {"task_id": True},
        {"task_id": ["abc"]},
        {"task_id": 1.5},
        {"id": "abc"},
    ],
    "get": [
        {},
        {"task_id": ID},
        *[{"task_id": ID, "status": value} for value in (0, 4, -1, True, False, "2", None, 2.0, [2], "\n\x1b" * 99)],
        *[{"task_id": ID, "status": 2, "result_urls": value} for value in ("cat.jpeg", {"0": URL}, 5, 0, True, False)],
        *[
            {"task_id": ID, "status": 2, "result_urls": [value]}
            for value in (5, 0, False, "cat.jpeg", "ftp://x/y", [URL], [], {})
        ],
        {"task_id": ID, "status": 2, "result_urls": [URL, None, 5]},
        {"task_id": ID, "status": 2, "result_urls": [URL, "", f"{URL} {URL}"]},
        {"task_id": ID, "status": 2, "result_urls": ["https://host/a\nb"]},
        {"task_id": "another", "status": 2, "result_urls": [URL]},
        {"task_id": None, "status": 1},
    ],
    "get_credits": [{}, *[{"credits": value} for value in (None, True, "500", [500], {})]],
    "pre_url": [
        {},
        {"upload_url": {"url": URL, "fields": {}}},
        {"upload_url": {"url": "s3://x", "fields": {}}, "image_url": URL},
        {"upload_url": URL, "image_url": URL},
        {"upload_url": {"url": URL, "fields": ["key"]}, "image_url": URL},
        {"upload_url": {"url": URL, "fields": {"key": 1}}, "image_url": URL},
        {"upload_url": {"url": URL}, "image_url": URL},
    ],
}
UNREADABLE = [
    *[pytest.param(name, body, id=f"{name}-{body[:40]!r}") for name in CALLS for body in NO_ENVELOPE],
    *[
        pytest.param(name, envelope(data), id=f"{name}-{str(data)[:60]}")
        for name, all_data in NOT_IN_DATA.items()
        for data in [*all_data, None, [], "text", 5]
    ],
    *[pytest.param(name, envelope({}, code), id=f"{name}-code-{code}") for name in CALLS for code in (3, -1, 200, 500)],
]


@pytest.mark.parametrize(("name", "body"), UNREADABLE)
def test_what_can_not_be_right_is_refused(name: str, body: bytes) -> None:
    """A read says that the answer can't be understood; a create does not know whether it has bought."""
    error = refused(CALLS[name], body)
    assert type(error) is (UnknownOutcomeError if name == "create" else UnexpectedReplyError)
    assert error.http_status == 200
    assert name in error.message
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "urls",
    [{}, *[{"result_urls": value} for value in (None, [], "", "  ", [None], [""], [None, " ", "\n"])]],
)
def test_completed_without_images_is_an_error_of_its_own(urls: dict[str, Any]) -> None:
    """It may be a moderation block: a failure of the generation that names it, and no retry mends it."""
    error = refused(GET, got(status=2, **urls))
    assert type(error) is NoImagesError
    assert error.generation_id == ID
    assert ID in error.message


@pytest.mark.parametrize("name", CALLS)
def test_a_reply_over_a_megabyte_is_refused(name: str) -> None:
    """One byte more than is allowed makes a good reply unreadable; the limit itself is fine."""
    good = {"create": CREATED, "get": got(status=1), "get_credits": BALANCE, "pre_url": FORM_REPLY}[name]
    body = (good if isinstance(good, str) else json.dumps(good)).encode()
    assert read(CALLS[name], body.ljust(wire.MAX_REPLY_BYTES))
    error = refused(CALLS[name], body.ljust(wire.MAX_REPLY_BYTES + 1))
    assert "longer than 1,000,000 bytes" in error.message
    assert type(error) is (UnknownOutcomeError if name == "create" else UnexpectedReplyError)


FORM_REPLY = {"code": 1, "data": {"upload_url": {"url": URL, "fields": {}}, "image_url": URL}}


# HTTP status x body x call

BODIES = {
    "refusal": b'{"code": 0, "message": "Server busy"}',
    "html": HTML,
    "text": b"upstream connect error",
    "empty": b"",
}
WITHOUT_ENVELOPE = {
    # status: (create, get, get_credits)
    400: (UnknownOutcomeError, UnexpectedReplyError, UnexpectedReplyError),
    401: (AuthenticationError, AuthenticationError, AuthenticationError),
    403: (AuthenticationError, AuthenticationError, AuthenticationError),
    404: (UnknownOutcomeError, UnexpectedReplyError, UnexpectedReplyError),  # a gateway's; on it nothing is bought anew
    405: (UnknownOutcomeError, UnexpectedReplyError, UnexpectedReplyError),
    429: (OverloadedError, OverloadedError, OverloadedError),
    500: (UnknownOutcomeError, ServiceError, ServiceError),
    502: (UnknownOutcomeError, ServiceError, ServiceError),
    503: (OverloadedError, OverloadedError, OverloadedError),
    504: (UnknownOutcomeError, ServiceError, ServiceError),
    599: (UnknownOutcomeError, ServiceError, ServiceError),
    200: (UnknownOutcomeError, UnexpectedReplyError, UnexpectedReplyError),
    204: (UnknownOutcomeError, UnexpectedReplyError, UnexpectedReplyError),
    302: (UnknownOutcomeError, UnexpectedReplyError, UnexpectedReplyError),
}
HTML_OF_A_PROXY = (UnknownOutcomeError, UnexpectedReplyError, UnexpectedReplyError)  # says nothing of key or id
WITH_ENVELOPE = {
    200: (RejectedError, RejectedError, RejectedError),
    400: (RejectedError, RejectedError, RejectedError),
    401: (AuthenticationError, AuthenticationError, AuthenticationError),
    402: (InsufficientCreditsError, InsufficientCreditsError, InsufficientCreditsError),
    404: (RejectedError, NotFoundError, RejectedError),
    429: (OverloadedError, OverloadedError, OverloadedError),
    500: (RejectedError, ServiceError, ServiceError),
    502: (RejectedError, ServiceError, ServiceError),
    503: (OverloadedError, OverloadedError, OverloadedError),
}
TABLE = [
    *[(status, "refusal", expected) for status, expected in WITH_ENVELOPE.items()],
    *[(status, body, expected) for status, expected in WITHOUT_ENVELOPE.items() for body in ("text", "empty")],
    *[
        (status, "html", HTML_OF_A_PROXY if status in {401, 403, 404} else expected)
        for status, expected in WITHOUT_ENVELOPE.items()
    ],
]


@pytest.mark.parametrize(("status", "body", "expected"), TABLE)
def test_the_table_of_errors(status: int, body: str, expected: tuple[type, ...]) -> None:
    """Each HTTP status with each kind of body has one error for a call that buys and one for a call that reads."""
    for call, kind in zip((CREATE, GET, CREDITS), expected, strict=True):
        error = refused(call, BODIES[body], status)
        assert type(error) is kind, call.name
        assert error.http_status == status


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_create_is_safe_to_send_again_after_429_and_503_only(body: bytes) -> None:
    """No other answer lets the client send a create once more."""
    errors = {status: refused(CREATE, body, status) for status in range(200, 600)}
    assert {status for status, error in errors.items() if isinstance(error, TransientError)} == {429, 503}
    assert all(isinstance(error, (OverloadedError, UnknownOutcomeError, RejectedError)) for error in errors.values())


def test_an_unknown_outcome_keeps_the_facts() -> None:
    """What is known of a lost create is in its error: what happened, and the HTTP status."""
    error = refused(CREATE, HTML, 502)
    assert "outcome is unknown" in error.message
    assert "HTTP 502" in str(error)
    assert "may have been started and charged" in str(error)
    error = refused(CREATE, {"code": 7, "message": "queued\nmaybe"}, 200)
    assert error.service_message == "queued maybe"


def test_html_is_named() -> None:
    """A page instead of a reply is the sign of a proxy or a wrong address, and the error says so."""
    error = refused(CREDITS, HTML)
    assert "HTML page" in error.message
    assert "base URL" in str(error)


# Retry-After


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("7", 7),
        (" 7 ", 7),
        ("0000000000000007", 7),
        ("300", 300),
        ("301", 300),
        ("9" * 5000, 300),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30),
        ("Wednesday, 21-Oct-26 07:28:30 GMT", 30),
        ("Wed Oct 21 07:28:30 2026", 30),
        ("Wed, 21 Oct 2026 09:28:30 +0200", 30),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 300),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("٧", None),
        ("²", None),
        ("Wed, 99 Oct 2026 07:28:30 GMT", None),
        ("Wed, 21 Oct 99999 07:28:30 GMT", None),
        ("\x00", None),
    ],
)
def test_retry_after(value: str | None, expected: float | None) -> None:
    """Seconds or a date, counted from now, at most five minutes; rubbish is as good as nothing."""
    assert wire.seconds_to_wait(value, NOW) == expected


@pytest.mark.parametrize("call", [CREATE, GET], ids=["create", "get"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("status", [429, 503])
def test_an_overloaded_service_says_when_to_come_back(call: wire.Call[Any], body: bytes, status: int) -> None:
    """Retry-After is on the error, whatever the body is."""
    assert refused(call, body, status, retry_after="12").retry_after == 12
    assert refused(call, body, status).retry_after is None


def test_retry_after_counts_from_the_clock() -> None:
    """Without a given time, a date counts from now."""
    later = format_datetime(datetime(2090, 1, 1, tzinfo=timezone.utc), usegmt=True)
    assert wire.seconds_to_wait(later) == 300


# Texts


@pytest.mark.parametrize("call", [CREATE, GET], ids=["create", "get"])
def test_words_of_the_service_stay_on_one_line(call: wire.Call[Any]) -> None:
    """A message can't forge a line of the log or colour it."""
    message = "no\n[2026-01-01] ERROR: forged\r\x1b[31m\x00\u2028\u202e" + "x" * 10_000
    error = refused(call, {"code": 0, "message": message})
    assert str(error).isprintable()
    assert len(str(error)) < 1000


def test_ids_of_the_service_stay_on_one_line() -> None:
    """Nor can an id."""
    strange = wire.get("abc\n\x1b[31mforged")
    assert str(refused(strange, b"", 404)).isprintable()
    assert str(refused(strange, {"code": 1, "data": {"status": 2}})).isprintable()


# Everything else

DATA_FIELDS = ["task_id", "status", "result_urls", "credits", "estimated_time", "upload_url", "image_url"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["code", "message", "msg", "data", "fields", "url", *DATA_FIELDS]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
DATA = st.dictionaries(
    st.sampled_from(DATA_FIELDS),
    st.sampled_from([ID, URL, [URL], 1, 2, 3, 15, {"url": URL, "fields": {"key": "a"}}]) | JSON,
)
ENVELOPES = st.fixed_dictionaries(
    {"code": st.sampled_from([0, 1, 1, 1, 2]) | st.integers()},
    optional={"message": JSON, "msg": JSON, "data": DATA | JSON},
)
ANY_BODY = st.one_of(
    st.binary(max_size=50), JSON.map(json.dumps).map(str.encode), ENVELOPES.map(json.dumps).map(str.encode)
)
STATUSES = st.sampled_from([200, 400, 401, 402, 403, 404, 429, 500, 502, 503, 504]) | st.integers(100, 599)
RETRY_AFTER = (
    st.none() | st.sampled_from(["5", "Wed, 21 Oct 2026 07:28:30 GMT"]) | st.text(st.characters(codec="latin-1"))
)
HUGE = b'{"code": %s}' % (b"9" * 4000)


@pytest.mark.parametrize("name", CALLS)
@bounded
@given(ANY_BODY, STATUSES, RETRY_AFTER)
@example(HUGE, 200, None)
@example(b'{"code": 0, "message": "\\ud83d"}', 200, None)
@example(b'{"code": 1, "data": {"task_id": "\\ud83d", "status": 1}}', 200, None)
@example(b'{"code": 1, "data": {"task_id": "%s", "status": 1%s}}' % (ID.encode(), b"0" * 4000), 200, None)
def test_any_reply_is_an_answer_or_an_error_of_ours(
    name: str, body: bytes, status: int, retry_after: str | None
) -> None:
    """Random bytes, JSON and statuses never end in anything but an answer or an error that is fit for a log."""
    call = CALLS[name]
    found = answer_or_error(call, wire.Reply(status, body, retry_after))
    if isinstance(found, QwenImageError):
        assert str(found).isprintable()
        assert len(str(found)) < 1000
        assert found.retry_after is None or 0 <= found.retry_after <= wire.MAX_RETRY_AFTER
        if call.buys:
            assert isinstance(found, (RejectedError, OverloadedError, UnknownOutcomeError))
            assert isinstance(found, TransientError) is (status in {429, 503})
        else:
            assert isinstance(found, (RejectedError, TransientError, GenerationError))
    elif isinstance(found, Submission):
        assert wire.get(found.generation_id).content()


def answer_or_error(call: wire.Call[Any], reply: wire.Reply) -> Any:
    try:
        return wire.read(call, reply, NOW)
    except QwenImageError as error:
        return error


@bounded
@given(
    st.text(st.characters(codec="latin-1")) | st.from_regex(r"\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} [-+\w]{3,9}")
)
def test_any_retry_after_is_a_wait_or_nothing(value: str) -> None:
    """Whatever the header holds, the wait is from 0 to 300 seconds or unknown."""
    wait = wire.seconds_to_wait(value, NOW)
    assert wait is None or 0 <= wait <= 300
