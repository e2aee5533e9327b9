"""The control face under ``/_emulator/``: for tests, and no part of the service."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_provider_qwenimage.emulator.contract import Refusal
from airflow_provider_qwenimage.emulator.state import State


class Control:
    """Answers the control calls; each method takes the request's JSON and returns what is answered."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the routes of the control face."""
        table: list[tuple[str, str, Callable[[Request, Any], Any]]] = [
            ("GET", "report", lambda request, body: self._state.report()),
            ("GET", "requests", lambda request, body: self._state.requests()),
            ("POST", "faults", self._plan),
            ("DELETE", "faults", lambda request, body: self._state.clear_faults()),
            ("POST", "reset", lambda request, body: self._state.reset()),
            ("POST", "credits", self._set_credits),
            ("POST", "generations/{generation_id}", self._finish),
        ]
        return [Route(f"/_emulator/{path}", _answering(act), methods=[method]) for method, path, act in table]

    def _plan(self, request: Request, body: Any) -> None:
        self._state.plan(*(body if isinstance(body, list) else [body]))

    def _set_credits(self, request: Request, body: Any) -> None:
        asked = {"api_key": self._state.options.api_key, "enabled": True, **_fields(body)}
        types = {name: type(value) for name, value in asked.items()}
        if types != {"api_key": str, "credits": int, "enabled": bool}:
            raise ValueError("The body must hold credits, an integer, and may hold api_key and enabled, nothing else")
        self._state.set_account(asked["api_key"], asked["credits"], enabled=asked["enabled"])

    def _finish(self, request: Request, body: Any) -> None:
        fate = _fields(body).get("state")
        if fate not in {"completed", "failed"}:
            raise ValueError("state must be completed or failed")
        self._state.finish(request.path_params["generation_id"], fate)


def _fields(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise ValueError("The body must be an object")
    return body


def _answering(act: Callable[[Request, Any], Any]) -> Callable[[Request], Awaitable[Response]]:
    """Wrap an action: JSON in, JSON out, and 400 with a reason if it can't be done."""

    async def answer(request: Request) -> Response:
        raw = await request.body()
        try:
            content, status = act(request, json.loads(raw) if raw else None), 200
        except Refusal as refusal:
            content, status = {"error": refusal.message}, refusal.status
        except ValueError as error:  # of the JSON, or of what it says
            content, status = {"error": str(error)}, 400
        return Response(json.dumps({"ok": True} if content is None else content), status, media_type="application/json")

    return answer
