"""Is this file a whole image, and of which kind and size? Reads containers, decodes no pixels.

A length check is not enough: a body without a length on a cut connection looks complete to every HTTP client.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from airflow_provider_qwenimage.api.errors import BrokenImageError

PIECE = 64 * 1024
MAX_PIXELS = 256 * 1024 * 1024  # a small file can claim a picture that would fill the memory of whoever opens it


@dataclass(frozen=True)
class ImageFormat:
    """A kind of image: its media type and its file name's extension, without the dot."""

    content_type: str
    extension: str


@dataclass(frozen=True)
class ImageFacts:
    """What was read from a whole image; ``width`` and ``height`` in pixels."""

    format: ImageFormat
    width: int
    height: int


class _Broken(Exception):
    """Why a file is not a whole image."""


def inspect(file: BinaryIO) -> ImageFacts:
    """Check that ``file`` holds one whole JPEG, PNG or WebP image, in constant memory.

    :param file: open for reading in binary, seekable; read from its start.
    :raises BrokenImageError: it is empty, truncated or no such image.
    """
    file.seek(0)
    start = file.read(16)
    for signature, kind, measure in _READERS:
        if start.startswith(signature) and (signature != b"RIFF" or start[8:12] == b"WEBP"):
            return _facts(file, kind, measure)
    raise BrokenImageError(f"The answer is not a JPEG, PNG or WebP image: it {_looks_like(start)}.")


def _facts(file: BinaryIO, kind: ImageFormat, measure: Callable[[BinaryIO], tuple[int, int]]) -> ImageFacts:
    file.seek(0)
    name = kind.extension.upper()
    try:
        width, height = measure(file)
    except _Broken as error:
        raise BrokenImageError(f"The {name} image is truncated or damaged: {error}.") from None
    if not 0 < width * height <= MAX_PIXELS:
        raise BrokenImageError(
            f"The {name} image claims {width} x {height} pixels: none, or more than any reader takes."
        )
    return ImageFacts(kind, width, height)


def _looks_like(start: bytes) -> str:
    if not start:
        return "is empty"
    text = start.lstrip().lower()
    return "is an HTML page" if text.startswith((b"<!doctype", b"<html")) else f"starts with {start[:8].hex(' ')}"


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise _Broken("it ends too early")
    return data


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _png(file: BinaryIO) -> tuple[int, int]:
    """Walk the chunks, each with a length and a checksum, from IHDR to IEND."""
    _exactly(file, 8)
    kind, head, length = _checked_chunk(file)
    if kind != b"IHDR" or length != 13:  # other readers rely on it, and so does who writes metadata after it
        raise _Broken("it does not start with its header")
    has_data = False
    while kind != b"IEND":
        kind, _, _ = _checked_chunk(file)
        has_data = has_data or kind == b"IDAT"
    if not has_data:
        raise _Broken("it holds no picture")
    return _number(head[:4]), _number(head[4:8])


def _checked_chunk(file: BinaryIO) -> tuple[bytes, bytes, int]:
    """Read a chunk; return its kind, the first bytes of its data, and their length."""
    length, kind = _number(_exactly(file, 4)), _exactly(file, 4)
    checksum, head, left = zlib.crc32(kind), b"", length
    while left:
        piece = _exactly(file, min(left, PIECE))
        head = head or piece[:13]
        checksum = zlib.crc32(piece, checksum)
        left -= len(piece)
    if _number(_exactly(file, 4)) != checksum:
        raise _Broken(f"the checksum of its {kind.decode('latin-1')} chunk is wrong")
    return kind, head, length


_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_SCAN, _END = 0xDA, 0xD9


def _jpeg(file: BinaryIO) -> tuple[int, int]:
    """Walk the segments to the first scan for the size, then look for the end marker at the end of the file."""
    _exactly(file, 2)
    size: tuple[int, int] | None = None
    while (marker := _next_marker(file)) != _SCAN:
        data = _segment(file, marker)
        if marker in _FRAME_HEADERS and len(data) >= 5:
            size = _number(data[3:5]), _number(data[1:3])
    if size is None:
        raise _Broken("it has no frame header")
    if not _tail(file).rstrip(b"\x00\r\n ").endswith(b"\xff\xd9"):
        raise _Broken("its end marker is missing")
    return size


def _segment(file: BinaryIO, marker: int) -> bytes:
    if marker in _WITHOUT_LENGTH:
        return b""
    if marker == _END:
        raise _Broken("it holds no picture")
    length = _number(_exactly(file, 2)) - 2
    if length < 0:
        raise _Broken("a segment has no length")
    return _exactly(file, length)


def _next_marker(file: BinaryIO) -> int:
    if _exactly(file, 1) != b"\xff":
        raise _Broken("a segment does not start where it should")
    while (byte := _exactly(file, 1)) == b"\xff":  # fill bytes
        pass
    return byte[0]


def _tail(file: BinaryIO) -> bytes:
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(max(here, end - 4096))
    return file.read()


def _webp(file: BinaryIO) -> tuple[int, int]:
    """Compare the length in the header with the file's; read the size from the first chunk."""
    head = _exactly(file, 30)
    told = 8 + int.from_bytes(head[4:8], "little")
    if file.seek(0, os.SEEK_END) < told:
        raise _Broken("it is shorter than its header says")
    kind, data = head[12:16], head[20:]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    raise _Broken("its first chunk is unknown")


_READERS: tuple[tuple[bytes, ImageFormat, Callable[[BinaryIO], tuple[int, int]]], ...] = (
    (b"\xff\xd8\xff", ImageFormat("image/jpeg", "jpeg"), _jpeg),
    (b"\x89PNG\r\n\x1a\n", ImageFormat("image/png", "png"), _png),
    (b"RIFF", ImageFormat("image/webp", "webp"), _webp),
)
