"""How each call looks on the wire: build the call, read the reply or raise. Pure: nothing is sent from here.

The only module that knows the service's paths, field names and codes. Both clients share it, so they can't drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

from airflow_provider_qwenimage.api import rules
from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InvalidImageError,
    InvalidRequestError,
    NoImagesError,
    NotFoundError,
    OverloadedError,
    QwenImageError,
    RejectedError,
    ServiceError,
    UnexpectedReplyError,
    UnknownOutcomeError,
)
from airflow_provider_qwenimage.api.models import (
    Generation,
    GenerationRequest,
    GenerationStatus,
    Submission,
    UploadForm,
)

DEFAULT_BASE_URL = "https://api.pixwith.ai"
MAX_REPLY_BYTES = 1_000_000
MAX_RETRY_AFTER = 300.0

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request to the service and how its answer is read.

    :param name: the call in the user's words, for error texts.
    :param path: path below the base URL.
    :param body: the JSON object to send; None for no body.
    :param read: makes the answer from the envelope's ``data``, or raises.
    :param buys: whether the call may cost credits, so that its answer must not get lost.
    """

    name: str
    path: str
    body: Mapping[str, Any] | None
    read: Callable[[dict[str, Any]], Answer]
    buys: bool = False

    def content(self) -> bytes:
        """Return the request body, UTF-8 JSON; empty for no body."""
        return b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()


@dataclass(frozen=True)
class Reply:
    """An HTTP answer as it came.

    :param body: at most ``MAX_REPLY_BYTES + 1`` bytes.
    :param secret: the API key, which must not get into an error text if the service repeats it.
    """

    status: int
    body: bytes
    retry_after: str | None = None
    secret: str = field(default="", repr=False)


def create(request: GenerationRequest) -> Call[Submission]:
    """``/api/task/create``: buys a generation."""
    return Call("create", "/api/task/create", request.payload(), _read_submission, buys=True)


def get(generation_id: str) -> Call[Generation]:
    """``/api/task/get``: how far a generation is.

    :raises InvalidRequestError: ``generation_id`` can't be one.
    """
    if not _is_id(generation_id):
        raise InvalidRequestError(f"generation_id must be a text that is not blank, not {rules.short(generation_id)}.")

    def read(data: dict[str, Any]) -> Generation:
        return _read_generation(generation_id, data)

    return Call("get", "/api/task/get", {"task_id": generation_id}, read)


def get_credits() -> Call[float]:
    """``/api/task/get_credits``: the account's balance in credits."""
    return Call("get_credits", "/api/task/get_credits", None, _read_credits)


def upload_form(image_name: str, content_type: str) -> Call[UploadForm]:
    """``/api/task/pre_url``: a form to upload an input image with; costs nothing."""
    return Call(
        "pre_url", "/api/task/pre_url", {"image_name": image_name, "content_type": content_type}, _read_upload_form
    )


def read(call: Call[Answer], reply: Reply, now: datetime | None = None) -> Answer:
    """Return what the service answered: the body is judged first, the HTTP status second.

    :param now: the time that a ``Retry-After`` date is counted from; None means the clock's.
    :raises RejectedError: the service understood and said no.
    :raises OverloadedError: HTTP 429 or 503, with ``retry_after``.
    :raises ServiceError: a call that only reads got no usable answer.
    :raises UnknownOutcomeError: a call that buys got an answer that can't be understood.
    """
    envelope = _envelope(reply.body)
    try:
        if envelope is None:
            raise _without_envelope(call, reply, now)
        if envelope["code"] != 1:
            raise _refusal(call, reply, envelope, now)
        data = envelope.get("data")
        if not isinstance(data, dict):
            raise UnexpectedReplyError(f"The reply to {call.name} reports success without data.")
        return call.read(data)
    except ServiceError as error:
        if error.http_status is None:
            error.http_status = reply.status
        if call.buys:
            raise lost_answer(call, error) from error
        raise


def lost_answer(call: Call[Any], error: QwenImageError) -> QwenImageError:
    """Return the error for a call whose answer was lost after it may have been worked on."""
    if not call.buys:
        return error
    return UnknownOutcomeError(
        f"The {call.name} was sent, but its outcome is unknown: {error.message}",
        http_status=error.http_status,
        service_message=error.service_message,
    )


def seconds_to_wait(retry_after: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that ``Retry-After`` (seconds or an HTTP date) asks for, at most ``MAX_RETRY_AFTER``."""
    if not retry_after:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER)
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        wait = (date - (now or datetime.now(timezone.utc))).total_seconds()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return min(max(wait, 0.0), MAX_RETRY_AFTER)


def _envelope(body: bytes) -> dict[str, Any] | None:
    """Return the service's envelope, or None if the body is something else."""
    if len(body) > MAX_REPLY_BYTES:
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or isinstance(found.get("code"), bool) or not isinstance(found.get("code"), int):
        return None
    return found


def _without_envelope(call: Call[Any], reply: Reply, now: datetime | None) -> QwenImageError:
    status, html = reply.status, _is_html(reply.body)
    facts: dict[str, Any] = {"http_status": status, "retry_after": seconds_to_wait(reply.retry_after, now)}
    if status in (429, 503):
        return OverloadedError(f"The service did not take the {call.name}.", **facts)
    if status in (401, 403) and not html:
        return AuthenticationError(f"The service refused the {call.name}.", **facts)
    if status == 404 and not html and call.name == "get":
        return NotFoundError(f"The service does not know generation {_asked_id(call)}.", **facts)
    if status >= 500:
        return ServiceError(f"The service failed to answer the {call.name}.", **facts)
    if len(reply.body) > MAX_REPLY_BYTES:
        what = f"is longer than {MAX_REPLY_BYTES:,} bytes"
    else:
        what = "is an HTML page" if html else "is not the service's JSON envelope"
    return UnexpectedReplyError(f"The reply to {call.name} {what}.", **facts)


def _refusal(call: Call[Any], reply: Reply, envelope: dict[str, Any], now: datetime | None) -> QwenImageError:
    code, words = envelope["code"], envelope.get("message") or envelope.get("msg")
    words = words if isinstance(words, str) else ""
    facts: dict[str, Any] = {
        "http_status": reply.status,
        "service_message": (words.replace(reply.secret, "***") if reply.secret else words) or None,
        "retry_after": seconds_to_wait(reply.retry_after, now),
    }
    if reply.status in (429, 503):
        return OverloadedError(f"The service did not take the {call.name}.", **facts)
    if code not in (0, 2):
        return UnexpectedReplyError(f"The reply to {call.name} has the unknown code {rules.short(code)}.", **facts)
    kind = AuthenticationError if code == 2 else _kind_of_refusal(call, reply.status, words.casefold())
    return kind(f"The service refused the {call.name}.", **facts)


def _kind_of_refusal(call: Call[Any], status: int, words: str) -> type[QwenImageError]:
    for hint, kind in _PUBLISHED_REFUSALS.items():
        if hint in words:
            return kind
    if status in (401, 402):
        return AuthenticationError if status == 401 else InsufficientCreditsError
    if call.buys:
        return RejectedError
    if status >= 500:
        return ServiceError
    if call.name == "get" and (status == 404 or any(hint in words for hint in _NOT_FOUND_HINTS)):
        return NotFoundError
    return RejectedError


_PUBLISHED_REFUSALS: Mapping[str, type[QwenImageError]] = {
    "api key": AuthenticationError,
    "credits not enough": InsufficientCreditsError,
    "invalid image": InvalidImageError,
}
_NOT_FOUND_HINTS = ("not found", "not exist", "no such", "unknown task", "invalid task", "expired")


def _read_submission(data: dict[str, Any]) -> Submission:
    found = data.get("task_id")
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)  # an id of an unexpected type is still the only handle on something that was paid for
    if not _is_id(found):
        raise UnexpectedReplyError("The reply to create reports success without a task_id.")
    return Submission(generation_id=str(found), estimated_time=_usable_seconds(data.get("estimated_time")))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and rules.is_unicode(value)


def _usable_seconds(value: Any) -> float | None:
    """Return an estimate that can be waited for; a strange one is not worth losing a paid id for."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86_400:
        return None
    return value


def _read_generation(generation_id: str, data: dict[str, Any]) -> Generation:
    found = data.get("task_id", generation_id)
    if str(found) != generation_id:
        raise UnexpectedReplyError(f"The reply to get is about another generation than {generation_id}.")
    status = _read_status(data.get("status"))
    if status is not GenerationStatus.COMPLETED:
        return Generation(generation_id=generation_id, status=status)
    return Generation(
        generation_id=generation_id, status=status, result_urls=_read_urls(generation_id, data.get("result_urls"))
    )


def _read_status(value: Any) -> GenerationStatus:
    if isinstance(value, int) and not isinstance(value, bool) and value in GenerationStatus.__members__.values():
        return GenerationStatus(value)
    raise UnexpectedReplyError(f"The reply to get has the unknown status {rules.short(value)}.")


def _read_urls(generation_id: str, value: Any) -> tuple[str, ...]:
    if value is None or value == []:
        raise NoImagesError(f"Generation {generation_id} is completed but has no images.", generation_id=generation_id)
    if not isinstance(value, list) or not all(map(rules.is_http_url, value)):
        raise UnexpectedReplyError("The reply to get has result_urls that are not a list of http(s) URLs.")
    return tuple(value)


def _read_credits(data: dict[str, Any]) -> float:
    found = data.get("credits")
    if isinstance(found, bool) or not isinstance(found, (int, float)) or found != found:  # the last: not a number
        raise UnexpectedReplyError("The reply to get_credits has no number of credits.")
    return found


def _read_upload_form(data: dict[str, Any]) -> UploadForm:
    target, image_url = data.get("upload_url"), data.get("image_url")
    url, fields = (target.get("url"), target.get("fields")) if isinstance(target, dict) else (None, None)
    if not rules.is_http_url(url) or not rules.is_http_url(image_url):
        raise UnexpectedReplyError("The reply to pre_url has no usable upload_url or image_url.")
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise UnexpectedReplyError("The reply to pre_url has form fields that are not texts.")
    return UploadForm(url=url, fields=fields, image_url=image_url)


def _asked_id(call: Call[Any]) -> str:
    return str((call.body or {}).get("task_id"))


def _is_html(body: bytes) -> bool:
    start = body[:200].lstrip().lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml"))
