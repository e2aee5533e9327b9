"""Registers the images page. Airflow imports this in every one of its processes, so it imports next to nothing.

Airflow 2.11 and 3.0 can't show such a page: there the plugin is empty.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version
from airflow.plugins_manager import AirflowPlugin

from airflow_provider_qwenimage.ui.urls import PREFIX

if TYPE_CHECKING:
    from fastapi import FastAPI

NAME = "qwenimage"
TITLE = "Qwen Image"

_VERSION = re.match(r"(\d+)\.(\d+)", airflow_version)
AVAILABLE = _VERSION is not None and (int(_VERSION[1]), int(_VERSION[2])) >= (3, 1)


class LazyApp:
    """An ASGI application that is imported at its first request, which only the API server gets."""

    def __init__(self) -> None:
        self._app: FastAPI | None = None

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Pass a request on."""
        if self._app is None:
            from airflow_provider_qwenimage.ui.app import app

            self._app = app
        await self._app(scope, receive, send)


class QwenImagePlugin(AirflowPlugin):
    """The page, and its entry in the Browse menu. No tab on tasks or runs: those would show on everybody's."""

    name = NAME
    fastapi_apps = [{"app": LazyApp(), "url_prefix": PREFIX, "name": TITLE}] if AVAILABLE else []
    external_views = (
        [
            {
                "name": TITLE,
                # Relative: Airflow's UI has a <base>, which knows the path prefix of [api] base_url.
                "href": f"{PREFIX.removeprefix('/')}/",
                "destination": "nav",
                "category": "browse",
                "url_route": NAME,
            }
        ]
        if AVAILABLE
        else []
    )
