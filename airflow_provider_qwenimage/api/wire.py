"""How each call looks on the wire: build the call, read the reply or raise. Pure: nothing is sent from here.

With ``replies`` the only module that knows the service's paths, field names and codes. Both clients share it, so they
can't drift apart.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar

from airflow_provider_qwenimage.api import replies, rules
from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InvalidImageError,
    InvalidRequestError,
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
    return Call("create", "/api/task/create", request.payload(), replies.submission, buys=True)


def get(generation_id: str) -> Call[Generation]:
    """``/api/task/get``: how far a generation is.

    :raises InvalidRequestError: ``generation_id`` can't be one.
    """
    if not replies.is_id(generation_id):
        raise InvalidRequestError(f"generation_id must be a text that is not blank, not {rules.short(generation_id)}.")

    def read(data: dict[str, Any]) -> Generation:
        return replies.generation(generation_id, data)

    return Call("get", "/api/task/get", {"task_id": generation_id}, read)


def get_credits() -> Call[float]:
    """``/api/task/get_credits``: the account's balance in credits."""
    return Call("get_credits", "/api/task/get_credits", None, replies.credit_balance)


def upload_form(image_name: str, content_type: str) -> Call[UploadForm]:
    """``/api/task/pre_url``: a form to upload an input image with; costs nothing."""
    return Call(
        "pre_url", "/api/task/pre_url", {"image_name": image_name, "content_type": content_type}, replies.upload_form
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


def _is_html(body: bytes) -> bool:
    start = body[:200].lstrip().lower()
    return start.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml"))
