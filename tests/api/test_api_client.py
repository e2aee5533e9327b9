"""Both clients against the emulator, over a real socket, with every fault that it knows."""

from __future__ import annotations

import asyncio
import re
import time
import traceback
from typing import Any

import pytest
from api_servers import KEY, closed_port

from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InvalidImageError,
    NoImagesError,
    NotFoundError,
    NotSentError,
    OverloadedError,
    QwenImageError,
    RejectedError,
    ServiceError,
    UnexpectedReplyError,
    UnknownOutcomeError,
)
from airflow_provider_qwenimage.api.models import GenerationRequest, GenerationStatus
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.emulator import Emulator

REQUEST = GenerationRequest(prompt="a lighthouse in the fog, 灯台 🙂", num_outputs=2)
IMPATIENT = {"connect_timeout": 0.3, "read_timeout": 0.3}
TWICE = Retries(attempts=2)


def bought(emulator: Emulator) -> int:
    return emulator.report()["bought"]


def count(emulator: Emulator, endpoint: str) -> int:
    return emulator.report()["requests"][endpoint]


def no_violations(emulator: Emulator) -> bool:
    return not emulator.report()["violations"]


def caught(act: Any, *arguments: Any, variables: bool = True) -> QwenImageError:
    """The error that a call ends in, after a look whether the key is in any text of it, or in a variable on its way.

    Airflow 3.0's console and Sentry show the variables of every frame.
    """
    with pytest.raises(QwenImageError) as info:
        act(*arguments)
    shown = traceback.TracebackException.from_exception(info.value, capture_locals=variables)
    assert KEY not in "".join(shown.format()) + repr(info.value)
    return info.value


# Everything goes well


def test_from_create_to_urls(emulator: Emulator, connect: Any, either: Any) -> None:
    """A generation is bought once by the worker and read by either client; the contract is kept throughout."""
    submission = connect(emulator.url).create_task(REQUEST)
    assert submission.estimated_time == 10
    found = either(emulator.url).get_task(submission.generation_id)
    assert found.generation_id == submission.generation_id
    assert found.status is GenerationStatus.COMPLETED
    assert [url.startswith(f"{emulator.url}/images/{found.generation_id}_") for url in found.result_urls] == [
        True,
        True,
    ]
    assert (bought(emulator), count(emulator, "create"), count(emulator, "get")) == (1, 1, 1)
    assert no_violations(emulator)


def test_image_to_image(emulator: Emulator, either: Any) -> None:
    """A result of one generation is the source of the next."""
    client = either(emulator.url)
    (source,) = client.get_task(client.create_task(GenerationRequest(prompt="a cat")).generation_id).result_urls
    made = client.create_task(GenerationRequest(prompt="as a watercolor", image_urls=(source,)))
    assert client.get_task(made.generation_id).result_urls
    assert emulator.requests()[-2]["body"]["image_urls"] == [source]
    assert no_violations(emulator)


def test_credits(emulator: Emulator, connect: Any, either: Any) -> None:
    """The balance is read, and goes down with a purchase."""
    client = either(emulator.url)
    assert client.get_credits() == 1000
    connect(emulator.url).create_task(REQUEST)
    assert client.get_credits() == 998
    assert no_violations(emulator)


def test_what_is_sent(emulator: Emulator, connect: Any, either: Any) -> None:
    """Method, content type, key and body are the contract's; a call without a body sends none."""
    connect(emulator.url).create_task(REQUEST)
    client = either(emulator.url)
    client.get_credits()
    with pytest.raises(NotFoundError):
        client.get_task("none")
    create, balance, get = emulator.requests()
    for entry in (create, balance, get):
        assert entry["method"] == "POST"
        assert entry["headers"]["content-type"] == "application/json"
        assert entry["api_key_present"]
    assert create["body"] == REQUEST.payload()
    assert balance["headers"].get("content-length", "0") == "0"
    assert get["body"] == {"task_id": "none"}


def test_a_base_url_with_a_path_and_a_slash(emulator: Emulator, either: Any) -> None:
    """A gateway may put the service below a path; the emulator has nothing there, and says so."""
    error = caught(either(f"{emulator.url}/gateway/").get_credits)
    assert emulator.requests()[-1]["path"] == "/gateway/api/task/get_credits"
    assert isinstance(error, RejectedError)


def test_a_processing_and_a_failed_generation(emulator: Emulator, connect: Any, either: Any) -> None:
    """Their states are answers, not errors."""
    emulator.plan("create", "stuck")
    emulator.plan("create", "fail")
    stuck, failed = (connect(emulator.url).create_task(REQUEST).generation_id for _ in range(2))
    client = either(emulator.url)
    assert client.get_task(stuck).status is GenerationStatus.PROCESSING
    assert client.get_task(failed).status is GenerationStatus.FAILED
    assert client.sleeps == []


@pytest.mark.parametrize("pending", ["absent", "null", "empty"])
def test_every_way_to_have_no_urls_yet(pending: str, connect: Any, either: Any) -> None:
    """Null, absent and empty URLs are fine while a generation is processing."""
    with Emulator(api_key=KEY, pending_urls=pending, duration=1000) as emulator:
        made = connect(emulator.url).create_task(REQUEST)
        assert either(emulator.url).get_task(made.generation_id).status is GenerationStatus.PROCESSING


@pytest.mark.parametrize("urls", ["null", "absent", "empty"])
def test_completed_without_images(emulator: Emulator, connect: Any, either: Any, urls: str) -> None:
    """It is an error that is not tried again."""
    emulator.plan("create", "missing_urls", urls=urls)
    made = connect(emulator.url).create_task(REQUEST)
    client = either(emulator.url)
    error = caught(client.get_task, made.generation_id)
    assert type(error) is NoImagesError
    assert (count(emulator, "get"), client.sleeps) == (1, [])


def test_completed_with_fewer_images(emulator: Emulator, connect: Any, either: Any) -> None:
    """What there is, is handed on."""
    emulator.plan("create", "missing_urls", urls="fewer")
    made = connect(emulator.url).create_task(REQUEST)
    assert len(either(emulator.url).get_task(made.generation_id).result_urls) == 1


@pytest.mark.parametrize("blank", [None, ""])
def test_completed_with_a_blank_among_the_urls(emulator: Emulator, connect: Any, either: Any, blank: Any) -> None:
    """It is left out, and the image beside it, which is paid for, handed on; nobody asks again."""
    made = connect(emulator.url).create_task(REQUEST)
    url = f"{emulator.url}/images/x_1.jpeg"
    emulator.plan("get", "data", set={"result_urls": [blank, url]}, times=10)
    assert either(emulator.url).get_task(made.generation_id).result_urls == (url,)
    assert count(emulator, "get") == 1


# The service says no


@pytest.mark.parametrize("http_errors", [False, True])
def test_refusals(http_errors: bool, either: Any) -> None:
    """Wrong key, too few credits, unreachable image, unknown generation: one request each, under any HTTP status."""
    with Emulator(api_key=KEY, http_errors=http_errors, credits=1) as emulator:
        client = either(emulator.url)
        assert type(caught(either(emulator.url, key="key_wrong").create_task, REQUEST)) is AuthenticationError
        assert type(caught(client.create_task, REQUEST)) is InsufficientCreditsError
        image = GenerationRequest(prompt="a cat", image_urls=(f"http://127.0.0.1:{closed_port()}/cat.png",))
        assert type(caught(client.create_task, image)) is InvalidImageError
        assert type(caught(client.get_task, "none")) is NotFoundError
        assert type(caught(client.create_task, REQUEST.model_copy(update={"model_id": "0-99"}))) is RejectedError
        assert (count(emulator, "create"), count(emulator, "get"), bought(emulator)) == (4, 1, 0)
        assert client.sleeps == []


@pytest.mark.parametrize("http_errors", [False, True])
def test_refusals_of_reads(http_errors: bool, either: Any) -> None:
    """A wrong key and an unknown generation end a read at once, in either client."""
    with Emulator(api_key=KEY, http_errors=http_errors) as emulator:
        wrong, client = either(emulator.url, key="key_wrong"), either(emulator.url)
        for call in (lambda: wrong.get_task("none"), wrong.get_credits):
            assert type(caught(call)) is AuthenticationError
        assert type(caught(client.get_task, "none")) is NotFoundError
        assert emulator.report()["requests"] | {"get": 2, "get_credits": 1} == emulator.report()["requests"]
        assert wrong.sleeps == client.sleeps == []


@pytest.mark.parametrize(
    ("code", "field", "message", "expected"),
    [
        (0, "message", "Invalid API KEY", AuthenticationError),
        (2, "msg", "Invalid API key. Get a valid API key at https://pixwith.ai/api", AuthenticationError),
        (0, "msg", "Credits not enough", InsufficientCreditsError),
        (0, "message", "Server busy", RejectedError),
    ],
)
def test_refusals_in_every_wording(
    emulator: Emulator, either: Any, code: int, field: str, message: str, expected: type
) -> None:
    """Both names of the field and both codes are understood, and the words are in the text."""
    emulator.plan("get_credits", "refuse", code=code, field=field, message=message)
    error = caught(either(emulator.url).get_credits)
    assert type(error) is expected
    assert message in str(error)


def test_the_key_does_not_come_back_in_the_words_of_the_service(emulator: Emulator, connect: Any, either: Any) -> None:
    """A service that repeats the key in its message does not get it into our texts, whole or cut."""
    emulator.plan("*", "refuse", message=f"Invalid API KEY {KEY}", times=2)
    for act in (lambda: connect(emulator.url).create_task(REQUEST), either(emulator.url).get_credits):
        error = caught(act, variables=False)
        assert error.service_message == "Invalid API KEY ***"
        assert "key_not" not in str(error)
    emulator.plan("*", "refuse", message="x" * 280 + KEY)
    assert "key_not" not in str(caught(either(emulator.url).get_credits, variables=False))


def test_whoever_shows_the_variables_of_a_call_does_not_show_the_key(
    emulator: Emulator, either: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is not ours, as Airflow's time-outs are, leaves them all as they are."""

    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("http.client.HTTPConnection.getresponse", stop)
    monkeypatch.setattr("aiohttp.client_reqrep.ClientResponse.start", stop)
    client = either(emulator.url)
    with pytest.raises(KeyboardInterrupt) as info:
        client.get_task("0123")
    shown = "".join(traceback.TracebackException.from_exception(info.value, capture_locals=True).format())
    assert "'Api-Key': '***'" in shown
    assert KEY not in shown


def test_an_error_that_a_caller_is_handling_keeps_its_variables(connect: Any) -> None:
    """Only the frames of the call are emptied."""

    def break_off() -> None:
        precious = "for whoever debugs it"
        raise LookupError(precious)

    try:
        break_off()
    except LookupError as error:
        caught(connect(f"http://127.0.0.1:{closed_port()}").get_credits)
        way = traceback.walk_tb(error.__traceback__)
    *_, (frame, _) = way
    assert frame.f_locals == {"precious": "for whoever debugs it"}


# A create is sent once

TAKEN = 1  # times that the create took effect
LOST: list[tuple[str, dict[str, Any], int]] = [
    ("close_before", {}, 0),
    ("close_after", {}, TAKEN),
    ("http_error", {"status": 500, "body": "text"}, 0),
    ("http_error", {"status": 502, "body": "empty"}, 0),
    ("http_error", {"status": 504, "body": "text"}, 0),
    ("http_error", {"status": 400, "body": "text"}, 0),
    ("html", {"status": 200}, 0),
    ("html", {"status": 502}, 0),
    ("html", {"status": 403}, 0),
    ("refuse", {"code": 7}, 0),
    ("malformed", {}, TAKEN),
    ("malformed", {"body": ""}, TAKEN),
    ("malformed", {"body": "[]"}, TAKEN),
    ("truncated", {}, TAKEN),
    ("oversized", {}, TAKEN),
    ("oversized", {"chunked": True}, TAKEN),
    ("data", {"delete": ["task_id"]}, TAKEN),
    ("data", {"set": {"task_id": None}}, TAKEN),
]


@pytest.mark.parametrize(("kind", "parameters", "purchases"), LOST)
def test_a_create_whose_answer_is_lost_is_not_sent_again(
    emulator: Emulator, either: Any, kind: str, parameters: dict[str, Any], purchases: int
) -> None:
    """Whether it took effect or not, it is sent exactly once, and the error says that it may have been charged."""
    emulator.plan("create", kind, **parameters)
    client = either(emulator.url)
    error = caught(client.create_task, REQUEST)
    assert type(error) is UnknownOutcomeError
    assert "may have been started and charged" in str(error)
    assert (count(emulator, "create"), bought(emulator), client.sleeps) == (1, purchases, [])


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_create_that_times_out_is_not_sent_again(own_emulator: Emulator, either: Any, when: str) -> None:
    """A slow service may have bought or be about to: nobody knows."""
    own_emulator.plan("create", "delay", seconds=0.7, when=when)
    client = either(own_emulator.url, **IMPATIENT)
    error = caught(client.create_task, REQUEST)
    assert type(error) is UnknownOutcomeError
    assert "timed out" in error.message
    assert (count(own_emulator, "create"), client.sleeps) == (1, [])


def test_a_create_that_trickles_is_not_sent_again(emulator: Emulator, either: Any) -> None:
    """An answer that comes byte by byte is cut off."""
    emulator.plan("create", "slow", bytes=1, pause=0.1)
    start = time.monotonic()
    error = caught(either(emulator.url, **IMPATIENT).create_task, REQUEST)
    assert time.monotonic() - start < 2
    assert type(error) is UnknownOutcomeError
    assert count(emulator, "create") == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("body", ["envelope", "text", "empty"])
def test_a_create_that_was_refused_before_it_was_worked_on_is_sent_again(
    emulator: Emulator, either: Any, status: int, body: str
) -> None:
    """429 and 503 are retried until it works, and it is bought once."""
    emulator.plan("create", "http_error", status=status, body=body, times=3)
    client = either(emulator.url)
    assert client.create_task(REQUEST).generation_id
    assert (count(emulator, "create"), bought(emulator), len(client.sleeps)) == (4, 1, 3)


def test_an_html_page_with_503_is_a_refusal_too(emulator: Emulator, either: Any) -> None:
    """The page of a proxy whose backend is down."""
    emulator.plan("create", "html", status=503)
    assert either(emulator.url).create_task(REQUEST).generation_id
    assert bought(emulator) == 1


def test_a_create_gives_up_on_an_overloaded_service(emulator: Emulator, either: Any) -> None:
    """After the last attempt the error says that nothing was bought."""
    emulator.plan("create", "http_error", status=429, times=10, message="slow down")
    client = either(emulator.url)
    error = caught(client.create_task, REQUEST)
    assert type(error) is OverloadedError
    assert (error.http_status, error.service_message, error.retry_safe) == (429, "slow down", True)
    assert "no credits were spent" in str(error)
    assert (count(emulator, "create"), bought(emulator), len(client.sleeps)) == (4, 0, 3)


def test_an_unknown_outcome_after_a_refusal_ends_the_attempts(emulator: Emulator, either: Any) -> None:
    """The second attempt may have bought, so there is no third."""
    emulator.plan("create", "http_error", status=503)
    emulator.plan("create", "close_after", skip=1)
    assert type(caught(either(emulator.url).create_task, REQUEST)) is UnknownOutcomeError
    assert (count(emulator, "create"), bought(emulator)) == (2, 1)


def test_a_strange_estimate_does_not_lose_the_id(emulator: Emulator, either: Any) -> None:
    """An answer without a usable estimate is still an answer."""
    emulator.plan("create", "data", set={"estimated_time": "soon"})
    assert either(emulator.url).create_task(REQUEST).estimated_time is None


def id_or_none(client: Any) -> str | None:
    try:
        return client.create_task(REQUEST).generation_id
    except UnknownOutcomeError:
        return None


def test_each_of_many_creates_is_sent_once(emulator: Emulator, either: Any) -> None:
    """With faults by chance, no purchase goes unnoticed: every request is a success, an error, or a safe retry."""
    emulator.plan("create", "close_after", probability=0.2)
    emulator.plan("create", "http_error", status=503, probability=0.3)
    client = either(emulator.url, retries=Retries(attempts=20))
    outcomes = [id_or_none(client) for _ in range(40)]
    assert count(emulator, "create") == 40 + len(client.sleeps)
    assert bought(emulator) == 40
    assert 1 <= outcomes.count(None) < 20
    assert len(set(outcomes) - {None}) == 40 - outcomes.count(None)


# A read is sent until it works

TRANSIENT: list[tuple[str, dict[str, Any], type]] = [
    ("close_before", {}, ServiceError),
    ("close_after", {}, ServiceError),
    *[("http_error", {"status": status}, ServiceError) for status in (500, 502, 504, 599)],
    *[("http_error", {"status": 500, "body": body}, ServiceError) for body in ("text", "empty")],
    ("http_error", {"status": 429}, OverloadedError),
    ("http_error", {"status": 503, "body": "empty"}, OverloadedError),
    ("html", {}, UnexpectedReplyError),
    ("html", {"status": 403}, UnexpectedReplyError),
    ("html", {"status": 404}, UnexpectedReplyError),
    ("html", {"status": 502}, ServiceError),
    ("refuse", {"code": 7}, UnexpectedReplyError),
    ("malformed", {}, UnexpectedReplyError),
    ("truncated", {}, ServiceError),
    ("oversized", {}, UnexpectedReplyError),
    ("oversized", {"chunked": True}, UnexpectedReplyError),
]
READS = ["get", "get_credits"]


@pytest.fixture
def read(emulator: Emulator, connect: Any, either: Any) -> Any:
    """Make a read of an endpoint, with a generation to ask for."""
    generation_id = connect(emulator.url).create_task(REQUEST).generation_id

    def make(endpoint: str, client: Any) -> Any:
        return client.get_task(generation_id) if endpoint == "get" else client.get_credits()

    return make


@pytest.mark.parametrize("endpoint", READS)
@pytest.mark.parametrize(("kind", "parameters", "expected"), TRANSIENT)
def test_a_read_is_retried_until_it_works(
    emulator: Emulator, either: Any, read: Any, endpoint: str, kind: str, parameters: dict[str, Any], expected: type
) -> None:
    """Whatever is transient is tried again: three failures, then the answer."""
    emulator.plan(endpoint, kind, times=3, **parameters)
    client = either(emulator.url)
    assert read(endpoint, client)
    assert (count(emulator, endpoint), len(client.sleeps)) == (4, 3)


@pytest.mark.parametrize("endpoint", READS)
@pytest.mark.parametrize(("kind", "parameters", "expected"), TRANSIENT)
def test_a_read_gives_up_after_its_attempts(
    emulator: Emulator, either: Any, read: Any, endpoint: str, kind: str, parameters: dict[str, Any], expected: type
) -> None:
    """The last error is the one that is raised."""
    emulator.plan(endpoint, kind, times=10, **parameters)
    client = either(emulator.url, retries=TWICE)
    assert type(caught(read, endpoint, client)) is expected
    assert (count(emulator, endpoint), len(client.sleeps)) == (2, 1)


@pytest.mark.parametrize(
    "changes",
    [{"set": {"status": 4}}, {"delete": ["status"]}, {"set": {"result_urls": "x"}}, {"set": {"task_id": "y"}}],
)
def test_a_strange_answer_is_asked_for_again(emulator: Emulator, either: Any, read: Any, changes: Any) -> None:
    """An answer that can't be right may be right the next time."""
    emulator.plan("get", "data", **changes)
    assert read("get", either(emulator.url)).result_urls


@pytest.mark.parametrize("endpoint", READS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_read_that_times_out_is_retried(
    emulator: Emulator, connect: Any, either: Any, endpoint: str, when: str
) -> None:
    """A late answer is not waited for."""
    generation_id = connect(emulator.url).create_task(REQUEST).generation_id
    emulator.plan(endpoint, "delay", seconds=1.0, when=when)
    client = either(emulator.url, **IMPATIENT)
    assert client.get_task(generation_id) if endpoint == "get" else client.get_credits()
    assert count(emulator, endpoint) == 2


def test_a_read_that_times_out_says_so(emulator: Emulator, either: Any) -> None:
    """The error names the host and what happened."""
    emulator.plan("get_credits", "delay", seconds=1.0)
    error = caught(either(emulator.url, retries=Retries(attempts=1), **IMPATIENT).get_credits)
    assert type(error) is ServiceError
    assert re.search(r"The answer of 127\.0\.0\.1:\d+ to the get_credits timed out", error.message)


def test_a_trickling_answer_ends_within_the_time_outs(emulator: Emulator, either: Any) -> None:
    """Bytes that keep coming do not keep a read alive beyond connect plus read time-out."""
    emulator.plan("get_credits", "slow", bytes=1, pause=0.1)
    client = either(emulator.url, retries=Retries(attempts=1), **IMPATIENT)
    start = time.monotonic()
    assert type(caught(client.get_credits)) is ServiceError
    assert 0.3 < time.monotonic() - start < 1.5


def test_a_slow_but_steady_answer_is_read(emulator: Emulator, either: Any) -> None:
    """Pieces are put together."""
    emulator.plan("get_credits", "slow", bytes=10, pause=0.01)
    assert either(emulator.url).get_credits() == 1000


# Waits between attempts


@pytest.mark.parametrize(
    ("retry_after", "low", "high"),
    [
        (7, 7, 7),
        (45, 45, 45),
        (200, 60, 60),
        ("soon", 0, 0.5),
        (None, 0, 0.5),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0.5),
    ],
)
def test_retry_after_is_honoured_and_capped(
    emulator: Emulator, either: Any, retry_after: Any, low: float, high: float
) -> None:
    """Seconds are waited, up to the longest wait; rubbish and dates that are over mean our own wait."""
    emulator.plan("get_credits", "http_error", status=429, **({"retry_after": retry_after} if retry_after else {}))
    client = either(emulator.url)
    client.get_credits()
    (waited,) = client.sleeps
    assert low <= waited <= high


def test_a_create_honours_retry_after(emulator: Emulator, either: Any) -> None:
    """In a reply with an envelope and in one without."""
    emulator.plan("create", "http_error", status=503, retry_after=9)
    emulator.plan("create", "http_error", status=503, retry_after=11, body="text")
    client = either(emulator.url)
    client.create_task(REQUEST)
    assert client.sleeps == [9, 11]


def test_waits_grow(emulator: Emulator, either: Any) -> None:
    """Each wait is drawn up to double the one before."""
    emulator.plan("get_credits", "http_error", status=500, times=10)
    client = either(emulator.url, retries=Retries(attempts=5, first_wait=1, longest_wait=3))
    caught(client.get_credits)
    assert [0 <= waited <= top for waited, top in zip(client.sleeps, (1, 2, 3, 3), strict=True)] == [True] * 4


# Nobody there


def test_nobody_listens(connect: Any, either: Any) -> None:
    """Each attempt fails before anything is sent, and the error says so."""
    url = f"http://127.0.0.1:{closed_port()}"
    for client, act in (
        (worker := connect(url), lambda: worker.create_task(REQUEST)),
        (any_one := either(url), any_one.get_credits),
    ):
        error = caught(act)
        assert type(error) is NotSentError
        assert "no credits were spent" in str(error)
        assert "127.0.0.1" in error.message
        assert "refused" in error.message
        assert len(client.sleeps) == 3


def test_a_service_that_comes_up_between_attempts(either: Any) -> None:
    """A create that was never sent is sent when somebody is there, and bought once."""
    port = closed_port()
    late = Emulator(api_key=KEY, port=port, duration=0)
    sleeps: list[float] = []

    def start_it(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 2:
            late.__enter__()

    client = either(f"http://127.0.0.1:{port}", sleep=start_it)
    try:
        assert client.create_task(REQUEST).generation_id
    finally:
        late.__exit__(None, None, None)
    assert (bought(late), count(late, "create"), len(sleeps)) == (1, 1, 2)


def test_a_read_of_a_service_that_comes_up_between_attempts(either: Any) -> None:
    """The same for reads, in either client."""
    port = closed_port()
    late = Emulator(api_key=KEY, port=port)
    client = either(f"http://127.0.0.1:{port}", sleep=lambda _: late.url or late.__enter__())
    try:
        assert client.get_credits() == 500
    finally:
        late.__exit__(None, None, None)


# Many at once


def test_many_reads_at_once_in_one_event_loop(emulator: Emulator, connect: Any, connect_async: Any) -> None:
    """Thousands of waits share one client: their retries do not get into each other's way."""
    ids = [connect(emulator.url).create_task(REQUEST).generation_id for _ in range(20)]
    emulator.plan("get", "http_error", status=500, probability=0.3)
    emulator.plan("get", "close_after", probability=0.1)
    reader = connect_async(emulator.url, retries=Retries(attempts=30))

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(reader.client.get_task(reader.session, found) for found in ids * 5))

    assert [found.generation_id for found in reader.run(all_of_them())] == ids * 5
    assert count(emulator, "get") == 100 + len(reader.sleeps)


def test_a_cancelled_read_ends_at_once(emulator: Emulator, connect_async: Any) -> None:
    """A cancelled trigger is not held up by an answer that does not come, nor by retries."""
    emulator.plan("get_credits", "delay", seconds=1.0)
    reader = connect_async(emulator.url)

    async def cancel() -> None:
        task = asyncio.ensure_future(reader.client.get_credits(reader.session))
        while not count(emulator, "get_credits"):  # noqa: ASYNC110 - the emulator runs in another thread
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    start = time.monotonic()
    reader.run(cancel())
    assert time.monotonic() - start < 0.9
    assert reader.sleeps == []


def test_the_key_is_not_in_the_repr_of_a_client(connect: Any, connect_async: Any) -> None:
    """Clients may be logged."""
    for client in (connect("http://127.0.0.1"), connect_async("http://127.0.0.1").client):
        assert KEY not in repr(client)
        assert KEY not in repr(vars(client))
