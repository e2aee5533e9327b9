"""Whole images are recognised with their size; cut, damaged and mislabelled ones are refused."""

from __future__ import annotations

import io
import time
import zlib
from typing import Any

import pytest
from api_servers import bounded
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from airflow_provider_qwenimage.api.errors import BrokenImageError
from airflow_provider_qwenimage.api.images import ImageFacts, inspect

SIGNATURES = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF\x00\x00\x00\x00WEBP"}


def picture(mode: str = "RGB", size: tuple[int, int] = (37, 23)) -> Image.Image:
    """A picture with some detail, the same every time."""
    noise = bytes((x * 7 + y * 13 + x * y) % 256 for y in range(size[1]) for x in range(size[0]))
    return Image.merge("RGB", [Image.frombytes("L", size, noise)] * 3).convert(mode)


def saved(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or picture()).save(file, kind, **options)
    return file.getvalue()


def exif() -> Image.Exif:
    """Metadata with a whole small JPEG in it, end marker and all, as cameras write it."""
    found = Image.Exif()
    found[0x010E] = "a lighthouse"
    found[0x9286] = saved("JPEG", picture(size=(8, 8)))
    return found


ANIMATION = {"save_all": True, "append_images": [picture().rotate(90)], "duration": 40}
FILES = {
    "jpeg-baseline": (saved("JPEG"), "jpeg"),
    "jpeg-progressive": (saved("JPEG", progressive=True), "jpeg"),
    "jpeg-progressive-optimized": (saved("JPEG", progressive=True, optimize=True, quality=95), "jpeg"),
    "jpeg-grey": (saved("JPEG", picture("L")), "jpeg"),
    "jpeg-cmyk": (saved("JPEG", picture("CMYK")), "jpeg"),
    "jpeg-exif": (saved("JPEG", exif=exif()), "jpeg"),
    "jpeg-icc-and-comment": (saved("JPEG", icc_profile=b"x" * 100_000, comment=b"\xff\xd9"), "jpeg"),
    "jpeg-restarts": (saved("JPEG", restart_marker_blocks=1), "jpeg"),
    "jpeg-1x1": (saved("JPEG", picture(size=(1, 1))), "jpeg"),
    "jpeg-trailing-zeros": (saved("JPEG") + b"\x00" * 64, "jpeg"),
    "jpeg-trailing-newline": (saved("JPEG") + b"\r\n", "jpeg"),
    "png-rgb": (saved("PNG"), "png"),
    "png-alpha": (saved("PNG", picture("RGBA")), "png"),
    "png-palette": (saved("PNG", picture("P")), "png"),
    "png-16-bit": (saved("PNG", Image.new("I;16", (37, 23), 4000)), "png"),
    "png-animated": (saved("PNG", **ANIMATION), "png"),
    "png-1x1": (saved("PNG", picture("1", (1, 1))), "png"),
    "png-trailing-zeros": (saved("PNG") + b"\x00" * 64, "png"),
    "webp-lossy": (saved("WEBP"), "webp"),
    "webp-lossless": (saved("WEBP", lossless=True), "webp"),
    "webp-alpha": (saved("WEBP", picture("RGBA").rotate(30)), "webp"),
    "webp-animated": (saved("WEBP", **ANIMATION), "webp"),
    "webp-exif": (saved("WEBP", exif=exif()), "webp"),
    "webp-lossy-1x1": (saved("WEBP", picture(size=(1, 1))), "webp"),
    "webp-lossless-1x1": (saved("WEBP", Image.new("RGB", (1, 1)), lossless=True), "webp"),
}
TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@pytest.mark.parametrize(("content", "extension"), FILES.values(), ids=FILES)
def test_whole_images(content: bytes, extension: str) -> None:
    """Kind and size are those that Pillow finds."""
    facts = inspect(io.BytesIO(content))
    with Image.open(io.BytesIO(content)) as expected:
        assert (facts.width, facts.height) == expected.size
        assert facts.format.extension == expected.format.lower() == extension
    assert facts.format.content_type == TYPES[extension]


@bounded
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["JPEG", "PNG", "WEBP"]), st.booleans())
def test_images_of_any_size(width: int, height: int, kind: str, variant: bool) -> None:
    """Every size is read right, from plain pictures too, whose files are very short."""
    options = {"JPEG": {"progressive": variant}, "PNG": {"optimize": variant}, "WEBP": {"lossless": variant}}[kind]
    facts = inspect(io.BytesIO(saved(kind, Image.new("RGB", (width, height), (9, 99, 199)), **options)))
    assert (facts.width, facts.height) == (width, height)


def test_a_large_image() -> None:
    """Sizes beyond one byte and beyond 14 bits of WebP's lossy form."""
    for kind, size in (("JPEG", (5000, 1)), ("PNG", (1, 70_000)), ("WEBP", (16_383, 2))):
        facts = inspect(io.BytesIO(saved(kind, Image.new("L", size))))
        assert (facts.width, facts.height) == size


@pytest.mark.parametrize("name", FILES)
def test_every_truncation_is_refused(name: str) -> None:
    """A file that was cut at any byte is not whole; what comes after the end of an image does not count."""
    content, _ = FILES[name]
    ends = {"jpeg": content.rfind(b"\xff\xd9") + 2, "png": content.find(b"IEND") + 8, "webp": len(content)}
    whole_from = ends[name.partition("-")[0]]
    step = max(1, whole_from // 3000)
    for length in [*range(0, whole_from, step), *range(max(0, whole_from - 50), whole_from)]:
        with pytest.raises(BrokenImageError):
            inspect(io.BytesIO(content[:length]))
    assert inspect(io.BytesIO(content[:whole_from]))


@pytest.mark.parametrize("content", [saved("PNG"), saved("PNG", picture("P")), saved("PNG", **ANIMATION)])
def test_bit_rot_in_a_png_is_refused(content: bytes) -> None:
    """Every changed byte shows, thanks to the checksums."""
    for place in range(len(content)):
        rotten = bytearray(content)
        rotten[place] ^= 1 << place % 8
        with pytest.raises(BrokenImageError):
            inspect(io.BytesIO(rotten))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"\r\n <html>", "an HTML page"),
        (b'{"code": 0}', "starts with 7b 22"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "starts with 3c 3f"),
        (b"GIF89a" + bytes(100), "starts with 47 49"),
        (b"RIFF\x00\x00\x00\x00WAVE" + bytes(100), "starts with 52 49"),
        (b"\x00" * 1000, "starts with 00 00"),
        (b"\xff\xd8\xff\xd9", "holds no picture"),
        (b"\xff\xd8\xff\xe0\x00\x01\xff\xd9", "has no length"),
        (b"\xff\xd8\xff\xe0\x00\x02JUNK\xff\xd9", "does not start where it should"),
        (b"\xff\xd8\xff\xda\x00\x02\xff\xd9", "no frame header"),
        (SIGNATURES["webp"] + b"JUNK" + bytes(40), "first chunk is unknown"),
        (SIGNATURES["png"] + b"\x00\x00\x00\x00IEND\xaeB`\x82", "does not start with its header"),
    ],
)
def test_what_is_no_image(content: bytes, words: str) -> None:
    """The error says what was found instead."""
    with pytest.raises(BrokenImageError) as caught:
        inspect(io.BytesIO(content))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_image_without_pixels() -> None:
    """A size of nothing is a damage."""
    header = b"\x00" * 8 + b"\x08\x02\x00\x00\x00"
    chunk = b"\x00\x00\x00\x0dIHDR" + header + zlib.crc32(b"IHDR" + header).to_bytes(4, "big")
    empty = b"\x00\x00\x00\x00IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    with pytest.raises(BrokenImageError, match="0 x 0 pixels"):
        inspect(io.BytesIO(SIGNATURES["png"] + chunk + empty + b"\x00\x00\x00\x00IEND\xaeB`\x82"))


def test_a_png_without_a_picture() -> None:
    """A header and an end make no image."""
    content = saved("PNG")
    start, end = content.index(b"IDAT") - 4, content.index(b"IEND") - 4
    with pytest.raises(BrokenImageError, match="holds no picture"):
        inspect(io.BytesIO(content[:start] + content[end:]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_file_is_read_from_its_start(kind: str) -> None:
    """Wherever the file stands, the whole of it is looked at."""
    file = io.BytesIO(saved(kind))
    file.seek(17)
    assert inspect(file).width == 37


def facts_or_error(content: bytes) -> ImageFacts | BrokenImageError:
    try:
        return inspect(io.BytesIO(content))
    except BrokenImageError as error:
        return error


@pytest.mark.parametrize("start", [b"", *SIGNATURES.values()], ids=["bare", *SIGNATURES])
@bounded
@given(rest=st.binary(max_size=300))
def test_random_bytes_are_refused_or_read(start: bytes, rest: bytes) -> None:
    """Nothing but our own error comes out, whatever goes in."""
    found = facts_or_error(start + rest)
    if isinstance(found, BrokenImageError):
        assert str(found).isprintable()
    else:
        assert found.width > 0
        assert found.height > 0


@pytest.mark.parametrize("name", ["jpeg-progressive", "png-palette", "webp-alpha"])
@bounded
@given(data=st.data())
def test_damaged_images_are_refused_or_read(name: str, data: Any) -> None:
    """Real images with a few bytes changed end in a result or in our own error."""
    content = bytearray(FILES[name][0])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert facts_or_error(bytes(content))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8\xff" + b"\xff" * 3_000_000,
        b"\xff\xd8\xff\x01" + b"\xff\x01" * 1_500_000,
        SIGNATURES["png"] + b"\x7f" * 3_000_000,
    ],
    ids=["fill-bytes", "markers", "endless-chunk"],
)
def test_hostile_files_end_quickly(content: bytes) -> None:
    """The work grows with the file's length at most."""
    start = time.monotonic()
    with pytest.raises(BrokenImageError):
        inspect(io.BytesIO(content))
    assert time.monotonic() - start < 5
