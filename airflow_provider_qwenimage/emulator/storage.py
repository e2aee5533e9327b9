"""The upload target and the image host: no part of the API, so the API key has no business here."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence

from starlette.formparsers import MultiPartException, MultiPartParser

from airflow_provider_qwenimage.emulator.contract import MAGIC_BYTES, MAX_IMAGE_BYTES, broken, invalid_image_format
from airflow_provider_qwenimage.emulator.forms import Form
from airflow_provider_qwenimage.emulator.gallery import Gallery
from airflow_provider_qwenimage.emulator.state import State
from airflow_provider_qwenimage.emulator.wire import Answer, Call

MAX_FORM_BYTES = MAX_IMAGE_BYTES + 65_536
Parts = Sequence[tuple[str, str | bytes]]
"""Name and content of each part in order; a file's content is bytes."""


class Storage:
    """Answers uploads and downloads; each method returns the answer to one call, or raises ``Refusal``."""

    def __init__(self, state: State, gallery: Gallery) -> None:
        self._state = state
        self._gallery = gallery

    async def image(self, call: Call) -> Answer:
        """Serve a result, or an uploaded picture."""
        _check_no_key(call)
        if call.method not in {"GET", "HEAD"}:
            raise broken(f"The method must be GET, not {call.method}", status=405)
        content, content_type = await self._gallery.image(call.path, call.query)
        if call.method == "GET":
            self._state.count("images_served")
        return Answer(body=content, content_type=content_type)

    async def upload(self, call: Call) -> Answer:
        """Take in a picture that comes with a form handed out before, as Amazon S3 does."""
        _check_no_key(call)
        if call.method != "POST":
            raise broken(f"The method must be POST, not {call.method}", status=405)
        parts = await _read_form(call)
        form = self._form(parts)
        _check_fields(parts, form)
        if self._state.now() > form.expires:
            raise broken("policy has expired: the form must be used within 10 minutes", status=403)
        self._state.uploads.put(f"/uploads/{form.name}", _check_file(parts, form))
        self._state.count("uploads")
        return Answer(status=204, content_type=None)

    def _form(self, parts: Parts) -> Form:
        key = dict(parts).get("key")
        form = self._state.form(key) if isinstance(key, str) else None
        if form is None:
            raise broken("key must be that of a form handed out by pre_url", status=403)
        return form


class _InMemoryParser(MultiPartParser):
    # The form's size is limited already; a file put onto the disk would be written by a thread of its own.
    spool_max_size = MAX_FORM_BYTES
    max_file_size = MAX_FORM_BYTES  # what it was called before Starlette 0.46


async def _read_form(call: Call) -> Parts:
    if call.body is None:
        raise broken("file must be at most 10 MB")
    if not call.headers.get("content-type", "").startswith("multipart/form-data"):
        raise broken("Content-Type must be multipart/form-data")
    try:
        form = await _InMemoryParser(call.headers, _once(call.body)).parse()
    except (MultiPartException, ValueError):
        raise broken("The body must be multipart/form-data") from None
    try:
        return [(name, part if isinstance(part, str) else await part.read()) for name, part in form.multi_items()]
    finally:
        await form.close()


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _check_fields(parts: Parts, form: Form) -> None:
    counts = Counter(name for name, _ in parts)
    for name in [*form.fields, "file"]:
        if counts.pop(name, 0) != 1:
            raise broken(f"{name} must be sent exactly once")
    for name in counts:
        raise broken(f"{name[:100]} is not a field of the form")
    if parts[-1][0] != "file":
        raise broken("file must be the last part")
    for name, value in parts[:-1]:
        if value != form.fields[name]:
            raise broken(f"{name} must be sent as it was returned", status=403)


def _check_file(parts: Parts, form: Form) -> bytes:
    content = parts[-1][1]
    if isinstance(content, str):
        raise broken("file must be a file, with a file name")
    if len(content) > MAX_IMAGE_BYTES:
        raise broken("file must be at most 10 MB")
    if not content.startswith(MAGIC_BYTES[form.content_type]):
        raise invalid_image_format(violation=True)
    return content


def _check_no_key(call: Call) -> None:
    if "api-key" in call.headers:
        raise broken("Api-Key must not be sent to this host")
