"""Carries out planned faults on the wire."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from http import HTTPStatus

from airflow_provider_qwenimage.emulator import pictures
from airflow_provider_qwenimage.emulator.faults import Fault
from airflow_provider_qwenimage.emulator.wire import Answer, Line, json_answer

HTML = b"<!DOCTYPE html><html><head><title>Please wait</title></head><body><h1>Just a moment...</h1></body></html>"


def answer_instead(fault: Fault) -> Answer | None:
    """Return the answer of a fault that keeps the request from taking effect, or None if it is no such fault."""
    if fault.kind == "http_error":
        return _http_error(fault)
    if fault.kind == "html":
        return Answer(fault["status"], HTML, "text/html; charset=utf-8")
    if fault.kind == "refuse":
        return json_answer({"code": fault["code"], fault["field"]: fault["message"]}, fault["status"])
    return None


def spoil(fault: Fault, answer: Answer) -> Answer:
    """Return the answer as a fault that concerns its content makes it; as it is if it is no such fault."""
    if fault.kind == "malformed":
        return replace(answer, body=fault["body"].encode(errors="replace"))
    if fault.kind == "oversized":
        # Spaces after a JSON text are allowed, so nothing but its size is wrong with it.
        return replace(answer, body=answer.body.ljust(fault["bytes"]), length=not fault["chunked"])
    if fault.kind == "data":
        return _change_data(fault, answer)
    if fault.kind == "truncated_image":
        return replace(answer, body=answer.body[: int(len(answer.body) * fault["keep"])])
    if fault.kind == "mislabelled":
        return replace(answer, body=HTML if fault["actual"] == "html" else pictures.sample(fault["actual"]))
    return answer


async def deliver(line: Line, answer: Answer, fault: Fault | None) -> None:
    """Send an answer, or fail to in the way that the fault says."""
    if fault is None:
        await line.answer(answer)
    elif fault.kind == "close_after":
        await line.hang_up()
    elif fault.kind == "truncated":
        await line.cut(answer)
    elif fault.kind == "slow":
        await line.answer(answer, chunk=fault["bytes"], pause=fault["pause"])
    else:
        await wait(fault, "after")
        await line.answer(spoil(fault, answer))


async def wait(fault: Fault, when: str) -> None:
    """Wait, if the fault is a delay at this point: ``before`` or ``after`` the request takes effect."""
    if fault.kind == "delay" and fault["when"] == when:
        await asyncio.sleep(fault["seconds"])


def _http_error(fault: Fault) -> Answer:
    status = fault["status"]
    headers = () if fault["retry_after"] is None else (("retry-after", str(fault["retry_after"])),)
    phrase = fault["message"] or _phrase(status)
    if fault["body"] == "envelope":
        return json_answer({"code": 0, "message": phrase}, status, headers)
    text = phrase if fault["body"] == "text" else ""
    return Answer(status, text.encode(errors="replace"), "text/plain; charset=utf-8", headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Error {status}"


def _change_data(fault: Fault, answer: Answer) -> Answer:
    payload = json.loads(answer.body)
    data = {**payload.get("data", {}), **fault["set"]}
    payload["data"] = {name: value for name, value in data.items() if name not in fault["delete"]}
    return replace(answer, body=json.dumps(payload).encode())
