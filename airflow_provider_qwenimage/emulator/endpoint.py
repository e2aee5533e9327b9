"""What all endpoints have in common: reading, logging, planned faults and refusals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from airflow_provider_qwenimage.emulator import misbehaviour
from airflow_provider_qwenimage.emulator.contract import Refusal
from airflow_provider_qwenimage.emulator.faults import Fault
from airflow_provider_qwenimage.emulator.state import State
from airflow_provider_qwenimage.emulator.wire import Answer, Call, Line, json_answer

Handler = Callable[[Call], Awaitable[Answer]]


class Endpoint:
    """
    An ASGI application for one endpoint.

    :param name: as it is called in faults, log and report
    :param handler: returns the answer, or raises ``Refusal``
    :param limit: bytes that a request's body may have
    :param errors_are_200: whether refusals answer 200, with nothing but their ``code`` to tell them by
    """

    def __init__(self, name: str, state: State, handler: Handler, *, limit: int, errors_are_200: bool) -> None:
        self._name = name
        self._state = state
        self._handler = handler
        self._limit = limit
        self._errors_are_200 = errors_are_200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = Line(scope, receive, send)
        try:
            body = await line.read(self._limit)
        except ClientDisconnect:
            return
        query = scope["query_string"].decode("latin-1")
        call = Call(scope["method"], scope["path"], query, Headers(scope=scope), body)
        self._state.record(self._name, call.as_log_entry())
        fault = self._state.next_fault(self._name)
        if fault is None or not await self._prevented(fault, line):
            answer = await self._answer(replace(call, fault=fault))
            await misbehaviour.deliver(line, answer, fault)

    async def _prevented(self, fault: Fault, line: Line) -> bool:
        """Carry out what a fault does before the request takes effect; True if it doesn't take effect at all."""
        era = self._state.era
        await misbehaviour.wait(fault, "before")
        # What was sent before a reset belongs to an earlier test: it must not appear in the books of the next one.
        if fault.kind == "close_before" or self._state.era != era:
            await line.hang_up()
            return True
        answer = misbehaviour.answer_instead(fault)
        if answer is not None:
            await line.answer(answer)
        return answer is not None

    async def _answer(self, call: Call) -> Answer:
        try:
            return await self._handler(call)
        except Refusal as refusal:
            self._state.refused(self._name, refusal)
            status = 200 if self._errors_are_200 else refusal.status
            return json_answer({"code": 0, "message": refusal.message}, status)
