"""Makes the pages: what the templates need, and the headers that keep a browser from doing more than to show them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from airflow_provider_qwenimage import __version__
from airflow_provider_qwenimage.ui.cards import card
from airflow_provider_qwenimage.ui.groups import groups
from airflow_provider_qwenimage.ui.urls import PREFIX, Place
from airflow_provider_qwenimage.ui.xcoms import Entry

SAFE = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
PIECE = 64 * 1024

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

_ERRORS = {
    401: ("You are not logged in", "Log in to Airflow to see images."),
    403: ("You may not see this", "Your Airflow user has no permission to see it, or your session has ended."),
    404: ("There is nothing to show here", "The page or image does not exist, or can't be shown any longer."),
    405: ("This can't be done here", "These pages can only be read."),
    500: ("Something went wrong", "The log of Airflow's API server tells more."),
}


def images(request: Request, place: Place | None, entries: Sequence[Entry], page: int, more: bool) -> Response:
    """Show what was recorded.

    :param place: what the page is about; None: all DAGs that the user may read.
    :param entries: newest first.
    :param page: of how many; from 1.
    :param more: whether there are older ones.
    """
    prefix = _root(request) + PREFIX
    loopback = request.url.hostname in ("localhost", "127.0.0.1", "::1")
    parts = groups(place, entries, lambda image, at: card(image, at, prefix, loopback))
    origins = sorted({shown.origin for part in parts for shown in part.cards if shown.origin})
    here = prefix + (place.page() if place else "/")
    step = "&page=" if "?" in here else "?page="
    facts = {
        "place": place,
        "path": _path(place) if place else [],
        "groups": parts,
        "newer": f"{here}{step}{page - 1}" if page > 1 else None,
        "older": f"{here}{step}{page + 1}" if more else None,
    }
    return _page(request, "images.html", facts, origins=origins)


def _path(place: Place) -> list[tuple[Place, str]]:
    """Return the way from a DAG down to a place, with names."""
    path = [(Place(place.dag_id), place.dag_id)]
    if place.run_id:
        path.append((Place(place.dag_id, place.run_id), place.run_id))
    if place.task_id:
        path.append((replace(place, map_index=None), place.task_id))
    if place.map_index is not None and place.map_index >= 0:
        path.append((place, str(place.map_index)))
    return path


def error(request: Request, status: int) -> Response:
    """Say that there is nothing for this reader; tells nothing of what was asked for."""
    title, text = _ERRORS.get(status) or _ERRORS[404 if status < 500 else 500]
    address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    login = f"{_root(request)}/api/v2/auth/login?next={quote(address, safe='')}" if status in (401, 403) else None
    facts = {"title": title, "text": text, "login": login}
    return _page(request, "error.html", facts, status=status)


def _page(
    request: Request, template: str, facts: Mapping[str, Any], status: int = 200, origins: Sequence[str] = ()
) -> Response:
    nonce = secrets.token_urlsafe(16)
    html = _TEMPLATES.get_template(template).render(
        facts, root=_root(request), prefix=_root(request) + PREFIX, nonce=nonce, version=__version__
    )
    images_from = " ".join(["'self'", *origins])
    policy = (
        f"default-src 'none'; img-src {images_from}; style-src 'self'; script-src 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    headers = SAFE | {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
    return HTMLResponse(html, status, headers)


def image_headers(etag: str) -> dict[str, str]:
    """Return the headers of an image: kept by the reader's own browser only, and asked for again at each view.

    Asked for again so that a permission that was taken away, or a log-out, counts at once.
    """
    return SAFE | {
        "ETag": etag,
        "Cache-Control": "private, no-cache",
        "Vary": "Cookie, Authorization",
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'self'",
        "Cross-Origin-Resource-Policy": "same-origin",
        # Or Airflow's GZipMiddleware would compress what can't be compressed, on the server's event loop.
        "Content-Encoding": "identity",
    }


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """Yield a file's content and close it."""
    with file:
        while piece := file.read(PIECE):
            yield piece


def _root(request: Request) -> str:
    """Return the path under which Airflow is served, as this request shows it."""
    root: str = request.scope.get("root_path", "")
    return root.rstrip("/").removesuffix(PREFIX)
