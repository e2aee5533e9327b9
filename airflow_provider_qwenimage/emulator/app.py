"""Puts the emulator's faces together into one ASGI application."""

from __future__ import annotations

from concurrent.futures import Executor

from starlette.applications import Starlette
from starlette.routing import Route

from airflow_provider_qwenimage.emulator.contract import broken
from airflow_provider_qwenimage.emulator.control import Control
from airflow_provider_qwenimage.emulator.endpoint import Endpoint, Handler
from airflow_provider_qwenimage.emulator.gallery import Gallery
from airflow_provider_qwenimage.emulator.service import Service
from airflow_provider_qwenimage.emulator.state import State
from airflow_provider_qwenimage.emulator.storage import MAX_FORM_BYTES, Storage
from airflow_provider_qwenimage.emulator.wire import Answer, Call

MAX_JSON_BYTES = 1_000_000


def build_app(state: State, drawing: Executor) -> Starlette:
    """
    Build the application.

    :param drawing: its threads draw the pictures
    """
    gallery = Gallery(state, drawing)
    service, storage = Service(state, gallery), Storage(state, gallery)

    def api(name: str, handler: Handler) -> Route:
        errors_are_200 = not state.options.http_errors
        endpoint = Endpoint(name, state, handler, limit=MAX_JSON_BYTES, errors_are_200=errors_are_200)
        return Route(f"/api/task/{name}", endpoint)

    def other(path: str, name: str, handler: Handler) -> Route:
        return Route(path, Endpoint(name, state, handler, limit=MAX_FORM_BYTES, errors_are_200=False))

    return Starlette(
        routes=[
            api("get", service.get),  # the most frequent one first
            api("create", service.create),
            api("get_credits", service.get_credits),
            api("pre_url", service.pre_url),
            other("/uploads", "upload", storage.upload),
            other("/uploads/{name}", "image", storage.image),
            other("/images/{name}", "image", storage.image),
            *Control(state).routes(),
            other("/{path:path}", "other", _nothing_here),
        ]
    )


async def _nothing_here(call: Call) -> Answer:
    raise broken(f"There is nothing at {call.path[:100]}", status=404)
