"""Gets an image's bytes from where they were saved, or refuses.

A record is only a claim: who can push an XCom can put any path in it, while it is the API server that opens it. So a
file is sent only if it has the SHA-256 digest that the record tells, and is an image. To make the server send a file,
one has to know its content already; a record of ``/etc/passwd``, or of another DAG's image, gets nothing. Nor does it
learn why: all refusals look the same from outside.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_provider_qwenimage.outlets import LOCAL

if TYPE_CHECKING:
    from airflow_provider_qwenimage.api.images import ImageFormat
    from airflow_provider_qwenimage.ui.records import Image

LARGEST = 64 * 1024 * 1024
SECONDS = 30.0
PIECE = 256 * 1024
IN_MEMORY = 2 * 1024 * 1024
# Airflow's registry of storages has none of these unless somebody adds one; a server must not fetch what it is told to.
NOT_STORAGE = ("http", "https", "ftp")

# Threads of our own: the API server answers everybody from its pool, which a storage that hangs would use up.
_POOL = ThreadPoolExecutor(4, thread_name_prefix="qwenimage-ui")


class Refused(Exception):
    """This file is not sent. The text is for the server's log."""


@dataclass(frozen=True)
class Found:
    """A checked image.

    :param file: its bytes, to be read from the start and closed.
    :param length: in bytes.
    """

    file: BinaryIO
    length: int
    format: ImageFormat


async def fetch(image: Image) -> Found:
    """Return the file of a record, in a thread and within ``SECONDS``.

    :raises Refused: it is not there, too large, another than was recorded or no image, or the storage does not answer.
    """
    started = asyncio.get_running_loop().run_in_executor(_POOL, _fetch, image)
    try:
        return await asyncio.wait_for(started, SECONDS)
    except asyncio.TimeoutError:
        raise Refused("the storage did not answer in time") from None


def _fetch(image: Image) -> Found:
    spool = cast("BinaryIO", SpooledTemporaryFile(max_size=IN_MEMORY))  # noqa: SIM115 (it outlives this function)
    try:
        with _opened(image) as source:
            length = _copy(source, spool, image)
        return Found(spool, length, _format(spool))
    except BaseException as error:
        spool.close()
        if isinstance(error, Refused) or not isinstance(error, Exception):
            raise
        raise Refused(f"{type(error).__name__}: {error}") from error


def _opened(image: Image) -> BinaryIO:
    """Open what the record names, after a look at its size; never read more than a file's head before it is known."""
    # Here, not above: it loads half of Airflow's SDK, and the pages without images need none of it.
    from airflow_provider_qwenimage._compat import object_storage_path

    text = image.path or ""
    scheme, separator, _ = text.partition("://")
    if "::" in text or not (separator or text.startswith("/")) or (separator and scheme.lower() in NOT_STORAGE):
        raise Refused("not the path of a saved file")
    path = object_storage_path(text)
    if path.protocol in LOCAL:
        return _opened_local(path.path, image)
    details = path.fs.info(path.path)
    if details.get("type") != "file":
        raise Refused("not a file")
    _check_length(details.get("size"), image)
    return cast("BinaryIO", path.fs.open(path.path, "rb"))


def _opened_local(path: str, image: Image) -> BinaryIO:
    # Not to wait for the other end of a pipe, nor to read a device without end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused("not a regular file")
        _check_length(status.st_size, image)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_length(length: Any, image: Image) -> None:
    if not isinstance(length, int) or length > LARGEST:
        raise Refused(f"its length is {length}, more than {LARGEST} bytes")
    if image.bytes is not None and length != image.bytes:
        raise Refused(f"its length is {length}, not the recorded {image.bytes}")


def _copy(source: BinaryIO, target: BinaryIO, image: Image) -> int:
    deadline = time.monotonic() + SECONDS
    digest, length = sha256(), 0
    while piece := source.read(PIECE):
        digest.update(piece)
        length += len(piece)
        if length > LARGEST or time.monotonic() > deadline:
            raise Refused("it is too large, or its storage too slow")
        target.write(piece)
    if digest.hexdigest() != image.sha256:
        raise Refused("it is not the file that was recorded")
    return length


def _format(file: BinaryIO) -> ImageFormat:
    """Return what the content is, whatever the record or the file's name say."""
    from airflow_provider_qwenimage.api.images import inspect

    found = inspect(file).format
    file.seek(0)
    return found
