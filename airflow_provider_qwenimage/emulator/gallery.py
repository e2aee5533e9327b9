"""The image host's stock: results drawn when they are first asked for, uploads, and source pictures."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime, timezone
from typing import TypeVar
from urllib.parse import quote, urlsplit

from airflow_provider_qwenimage.emulator import pictures, sources
from airflow_provider_qwenimage.emulator.contract import CONTENT_TYPES, Refusal, broken
from airflow_provider_qwenimage.emulator.forms import CREDENTIAL
from airflow_provider_qwenimage.emulator.generations import Generation
from airflow_provider_qwenimage.emulator.state import State

_PATH = re.compile(r"/(?P<shelf>images|uploads)/(?P<stem>[0-9a-f]{32})(?:_(?P<index>\d))?(?P<extension>\.[a-z]+)")
_Result = TypeVar("_Result")


class Gallery:
    """
    Finds and draws the images of one emulator.

    :param drawing: its threads draw, so that the event loop stays free for the other callers
    """

    def __init__(self, state: State, drawing: Executor) -> None:
        self._state = state
        self._drawing = drawing

    def result_urls(self, generation: Generation, origin: str) -> list[str]:
        """
        Return the URLs of a completed generation's images, in order.

        :param origin: scheme and authority to put in front
        """
        paths = [self._path(generation, index) for index in range(generation.num_outputs)]
        return [f"{origin}{path}{self._signature(path, generation)}" for path in paths]

    async def image(self, path: str, query: str) -> tuple[bytes, str]:
        """
        Return the image at a path.

        :param query: as it came, undecoded
        :return: the file's bytes, its content type
        :raises Refusal: there is no such image, or its URL's signature is missing, changed or has expired
        """
        parts = _PATH.fullmatch(path)
        if parts is None:
            raise Refusal("No such image", status=404)
        if parts["shelf"] == "images":
            content = await self._result(parts["stem"], path, query)
        else:
            content = self._upload(path)
        return content, CONTENT_TYPES[parts["extension"]]

    async def source(self, url: str, origin: str) -> str:
        """
        Take in the picture that an order is made from.

        :param url: of an image here, or anywhere
        :param origin: scheme and authority of the images here
        :return: the name under which it is kept in the state's ``sources``
        :raises Refusal: it can't be fetched, or it is neither JPEG nor PNG
        """
        if url.startswith(f"{origin}/"):
            content = await self._own(url)
        else:
            # Not in a drawing thread: the picture may be one of ours under another name, still to be drawn.
            content = await asyncio.get_running_loop().run_in_executor(None, sources.fetch, url)
        small = await self._draw(lambda: pictures.read_source(content, self._state.options.image_size))
        name = hashlib.sha256(small).hexdigest()
        self._state.sources.put(name, small)
        return name

    async def _own(self, url: str) -> bytes:
        parts = urlsplit(url)
        try:
            content, _ = await self.image(parts.path, parts.query)
        except Refusal:
            raise Refusal("Invalid image url") from None
        return content

    def _upload(self, path: str) -> bytes:
        content = self._state.uploads.get(path)
        if content is None:
            raise Refusal("No such image", status=404)
        return content

    async def _result(self, generation_id: str, path: str, query: str) -> bytes:
        generation = self._state.generation(generation_id)
        paths = [self._path(generation, index) for index in range(generation.num_outputs)]
        if generation.state != "completed" or path not in paths:
            raise Refusal("No such image", status=404)
        self._check_signature(path, query, generation)
        content = self._state.images.get(path)
        if content is None:
            picture = self._picture(generation, paths.index(path))
            content = await self._draw(lambda: pictures.draw(picture, self._state.options.image_format))
            self._state.images.put(path, content)
        return content

    def _picture(self, generation: Generation, index: int) -> pictures.Picture:
        source = self._state.sources.get(generation.source) if generation.source else None
        if generation.source and source is None:
            raise Refusal("The image is not kept any longer", status=404)
        return pictures.Picture(
            caption=generation.caption,
            footer=f"{generation.id} {index}",
            digest=generation.digest + bytes([index]),  # so that no two are alike
            aspect_ratio=generation.aspect_ratio,
            long_side=self._state.options.image_size,
            source=source,
        )

    def _path(self, generation: Generation, index: int) -> str:
        return f"/images/{generation.id}_{index}.{self._state.options.image_format}"

    def _signature(self, path: str, generation: Generation) -> str:
        """Return the query string of a result's URL, which looks like Amazon S3's."""
        if not self._state.options.signed_urls:
            return ""
        moment = datetime.fromtimestamp(generation.created, timezone.utc)
        credential = quote(f"{CREDENTIAL}/{moment:%Y%m%d}/us-east-1/s3/aws4_request", safe="")
        query = (
            f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={moment:%Y%m%dT%H%M%SZ}"
            f"&X-Amz-Expires={self._state.options.result_lifetime}&X-Amz-SignedHeaders=host"
        )
        return f"?{query}&X-Amz-Signature={self._state.sign(f'{path}?{query}')}"

    def _check_signature(self, path: str, query: str, generation: Generation) -> None:
        expected = self._signature(path, generation)
        if not expected:
            return
        if f"?{query}" != expected:
            raise broken("The URL's query string must be used unchanged", status=403)
        if self._state.now() > generation.created + self._state.options.result_lifetime:
            raise Refusal("The URL has expired", status=403)

    async def _draw(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._drawing, work)
