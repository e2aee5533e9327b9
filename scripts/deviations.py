"""Where replies of the service differ from the published contract that this project was built on. Knows no client."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

ENVELOPE = {"code": int, "message": str, "data": dict}
FORM = {"url": str, "fields": dict}
FIELDS: dict[str, dict[str, type]] = {
    "create": {"task_id": str, "estimated_time": int},
    "get": {"task_id": str, "status": int, "result_urls": list},
    "get_credits": {"credits": int},
    "pre_url": {"upload_url": dict, "image_url": str},
}
MAY_LACK = {"get_credits": {"message"}}  # its published sample has none
FORM_FIELDS = {
    "key", "Content-Type", "x-amz-credential", "x-amz-algorithm", "x-amz-date", "x-amz-signature", "policy",
}  # fmt: skip
HOSTS = ("uploads.pixwith.ai", "cdn.pixwith.ai", ".amazonaws.com")
COMPLETED = 2


def of_reply(name: str, status: int, body: bytes, base_url: str) -> list[str]:
    """What is strange about one reply: a sentence each.

    :param name: of the call: ``create``, ``get``, ``get_credits`` or ``pre_url``.
    :param status: HTTP status; a call that was understood is published to answer 200.
    :param base_url: the service's address, whose host may serve everything.
    """
    found = [] if status == 200 else [f"{name}: HTTP status {status}, where 200 is published"]
    try:
        reply = json.loads(body)
    except ValueError:
        return [*found, f"{name}: the body is no JSON"]
    return found + [f"{name}: {text}" for text in _of_envelope(name, reply, base_url)]


def of_time(estimated: float | None, took: float) -> list[str]:
    """Whether a generation took much longer or shorter than announced, both in seconds."""
    if estimated is None:
        return ["create: there was no usable estimated_time"]
    if took > 2 * estimated + 5 or took < estimated / 4:
        return [f"create: estimated_time was {estimated:g} s, and the generation took {took:.0f} s"]
    return []


def _of_envelope(name: str, reply: Any, base_url: str) -> Iterator[str]:
    if not isinstance(reply, dict):
        yield f"the reply is {type(reply).__name__}, no object"
        return
    yield from _of_object("", reply, ENVELOPE, MAY_LACK.get(name, set()))
    if reply.get("code") != 1:
        yield f"refused with code {reply.get('code')!r}: {str(reply.get('message'))[:200]}"
    data = reply.get("data")
    if not isinstance(data, dict):
        return
    absent = {"result_urls"} if data.get("status") != COMPLETED else set()
    yield from _of_object("data.", data, FIELDS[name], absent)
    yield from _of_urls(data, base_url)
    if isinstance(data.get("upload_url"), dict):
        yield from _of_object("data.upload_url.", data["upload_url"], FORM, set())
        names = set(data["upload_url"].get("fields") or {})
        if names != FORM_FIELDS:
            yield f"data.upload_url.fields: {_names(names - FORM_FIELDS)} more, {_names(FORM_FIELDS - names)} missing"
    if name == "get" and data.get("status") not in {1, 2, 3}:
        yield f"data.status is {data.get('status')!r}, where 1, 2 and 3 are published"


def _of_object(prefix: str, found: Mapping[str, Any], known: Mapping[str, type], may_lack: set[str]) -> Iterator[str]:
    for name, value in found.items():
        if name not in known:
            yield f"{prefix}{name} is not published ({type(value).__name__})"
        elif type(value) is not known[name] and not (value is None and name in may_lack):
            yield f"{prefix}{name} is {type(value).__name__}, where {known[name].__name__} is published"
    for name in known:
        if name not in found and name not in may_lack:
            yield f"{prefix}{name} is missing"


def _of_urls(data: Mapping[str, Any], base_url: str) -> Iterator[str]:
    form = data.get("upload_url")
    urls = [
        *(data.get("result_urls") or []),
        data.get("image_url"),
        form.get("url") if isinstance(form, dict) else None,
    ]
    allowed = (*HOSTS, urlsplit(base_url).hostname or "")
    for host in sorted({urlsplit(url).hostname or "" for url in urls if isinstance(url, str)}):
        if not any(host == each or (each.startswith(".") and host.endswith(each)) for each in allowed):
            yield f"a URL is on {host}, which is not published"


def _names(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"
