"""The application behind the pages. Each route asks Airflow first who is there and what they may see."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import StreamingResponse

from airflow_provider_qwenimage.ui import files, pages, xcoms
from airflow_provider_qwenimage.ui.access import DAG_READABLE, authorised_dags, may_read
from airflow_provider_qwenimage.ui.records import Image
from airflow_provider_qwenimage.ui.urls import Place

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
STATIC_FILES = {"ui.css": "text/css; charset=utf-8", "ui.js": "text/javascript; charset=utf-8"}

# Bounded to what a database takes.
Word = Annotated[str, Query(min_length=1, max_length=250, pattern=r"^[^\x00]+$")]
Page = Annotated[int, Query(ge=1, le=500)]
MapIndex = Annotated[int, Query(ge=-1, le=2**31 - 1)]
Position = Annotated[int, Query(ge=0, le=100_000)]

app = FastAPI(title="Qwen Image", openapi_url=None, docs_url=None, redoc_url=None)


@app.get("/", include_in_schema=False)
def newest(request: Request, user: GetUserDep, page: Page = 1) -> Response:
    """Show the newest images of all DAGs that the user may read."""
    readable = authorised_dags(user, xcoms.dags_with_images())
    entries, more = xcoms.newest(readable, page)
    seen = {dag_id for dag_id in {entry.place.dag_id for entry in entries} if may_read(dag_id, request, user)}
    entries = [entry for entry in entries if entry.place.dag_id in seen]
    return pages.images(request, None, entries, page, more)


@app.get("/dags/{dag_id}/images", dependencies=DAG_READABLE, include_in_schema=False)
def images(
    request: Request,
    dag_id: str,
    run_id: Word | None = None,
    task_id: Word | None = None,
    map_index: MapIndex | None = None,
    page: Page = 1,
) -> Response:
    """Show the images of a DAG, of one of its runs, or of a task or one task instance in it."""
    place = Place(dag_id, run_id, task_id, map_index)
    entries, more = xcoms.of_place(place, page)
    return pages.images(request, place, entries, page, more)


def recorded(dag_id: str, run_id: Word, task_id: Word, index: Position, map_index: MapIndex = -1) -> Image:
    """Return the record that the address names: never a path or URL from the request.

    :raises HTTPException: there is none with a file.
    """
    entries, _ = xcoms.of_place(Place(dag_id, run_id, task_id, map_index), page=1)
    for entry in entries:
        for image in entry.records.images:
            if image.position == index and image.servable:
                return image
    raise HTTPException(404)


@app.get("/dags/{dag_id}/image", dependencies=DAG_READABLE, include_in_schema=False)
async def image(request: Request, record: Annotated[Image, Depends(recorded)]) -> Response:
    """Send the file of one image."""
    headers = pages.image_headers(f'"{record.sha256}"')
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    try:
        found = await files.fetch(record)
    except files.Refused as refusal:
        log.warning("Not shown, image %s of %s: %s", record.position, request.url.path, str(refusal)[:500])
        raise HTTPException(404) from None
    headers["Content-Disposition"] = f'inline; filename="{_file_name(record, found.format.extension)}"'
    headers["Content-Length"] = str(found.length)
    return StreamingResponse(pages.pieces(found.file), media_type=found.format.content_type, headers=headers)


def _file_name(record: Image, extension: str) -> str:
    stem = (record.path or "").rpartition("/")[2].rpartition(".")[0]
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem)[:100].strip("._") or f"qwenimage_{record.position}"
    return f"{stem}.{extension}"


@app.get("/static/{name}", include_in_schema=False)
def static(name: str) -> Response:
    """Send the style sheet or the script: parts of this package, the same for all, open like those of Airflow's UI."""
    if name not in STATIC_FILES:
        raise HTTPException(404)
    headers = pages.SAFE | {"Cache-Control": "public, max-age=86400"}
    return Response((STATIC / name).read_bytes(), media_type=STATIC_FILES[name], headers=headers)


@app.exception_handler(StarletteHTTPException)
async def refused(request: Request, error: Exception) -> Response:
    """Say so in a page that is the same whatever was asked for."""
    return pages.error(request, error.status_code if isinstance(error, StarletteHTTPException) else 500)


@app.exception_handler(RequestValidationError)
async def invalid(request: Request, error: Exception) -> Response:
    """Treat an impossible address like one where nothing is."""
    return pages.error(request, 404)


@app.exception_handler(Exception)
async def failed(request: Request, error: Exception) -> Response:
    """Show no details; the server's log has them."""
    return pages.error(request, 500)
