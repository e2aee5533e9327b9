"""Draws the images: the same order always gives the same picture."""

from __future__ import annotations

import random
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

from airflow_provider_qwenimage.emulator.contract import invalid_image_format

MAX_SOURCE_PIXELS = 50_000_000
MAX_LINES = 6
INK = (255, 255, 255)
SHADOW = (40, 40, 40)


@dataclass(frozen=True)
class Picture:
    """
    What is drawn.

    :param caption: the prompt's text
    :param footer: small print
    :param digest: bytes to choose the colours from
    :param aspect_ratio: as ``16:9``, for text-to-image
    :param long_side: pixels
    :param source: the picture that it is made from, for image-to-image
    """

    caption: str
    footer: str
    digest: bytes
    aspect_ratio: str | None
    long_side: int
    source: bytes | None = None


def draw(picture: Picture, image_format: str) -> bytes:
    """
    Draw a picture.

    :param image_format: ``jpeg`` or ``png``
    :return: the file's bytes
    """
    chance = random.Random(picture.digest)  # noqa: S311 - it chooses colours
    colours = [(chance.randrange(200), chance.randrange(200), chance.randrange(200)) for _ in range(2)]
    if picture.source is None:
        image = _paint(pixel_size(picture.aspect_ratio or "1:1", picture.long_side), colours, chance)
    else:
        image = _restyle(picture.source, colours)
    _write(image, picture)
    return _encode(image, image_format)


def pixel_size(aspect_ratio: str, long_side: int) -> tuple[int, int]:
    """Return width and height in pixels for a ratio such as ``16:9``."""
    width, height = (int(part) for part in aspect_ratio.split(":"))
    longest = max(width, height)
    return round(long_side * width / longest), round(long_side * height / longest)


def read_source(content: bytes, long_side: int) -> bytes:
    """
    Make a source picture small enough to be remembered.

    :param content: a JPEG or PNG file
    :param long_side: pixels on the long side of what is returned
    :return: a JPEG file
    :raises Refusal: it isn't a JPEG or PNG file, is damaged, or has more than 50 million pixels
    """
    try:
        with Image.open(BytesIO(content), formats=["JPEG", "PNG"]) as image:
            if image.width * image.height > MAX_SOURCE_PIXELS:
                raise ValueError("too many pixels")
            scaled = ImageOps.contain(image.convert("RGB"), (long_side, long_side))
    except Exception:  # Pillow raises a dozen types for damaged files
        raise invalid_image_format(violation=False) from None
    return _encode(scaled, "jpeg")


def sample(image_format: str) -> bytes:
    """Return a small whole picture in that format."""
    return _encode(Image.new("RGB", (64, 36), (90, 120, 160)), image_format)


def _paint(size: tuple[int, int], colours: list[tuple[int, int, int]], chance: random.Random) -> Image.Image:
    gradient = Image.linear_gradient("L").rotate(chance.choice([0, 90, 180, 270])).resize(size)
    image = ImageOps.colorize(gradient, colours[0], colours[1])
    pen = ImageDraw.Draw(image)
    for _ in range(5):
        radius = chance.randrange(size[1] // 8, size[1] // 3)
        x, y = chance.randrange(size[0]), chance.randrange(size[1])
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=chance.choice(colours))
    return image


def _restyle(source: bytes, colours: list[tuple[int, int, int]]) -> Image.Image:
    """Tint the source in the order's colour, so that both the source and the prompt can be recognised."""
    with Image.open(BytesIO(source), formats=["JPEG"]) as image:
        plain = ImageOps.posterize(image.convert("RGB"), 4)
    return Image.blend(plain, Image.new("RGB", plain.size, colours[0]), 0.3)


def _write(image: Image.Image, picture: Picture) -> None:
    pen = ImageDraw.Draw(image)
    margin = max(image.width // 24, 1)
    font = ImageFont.load_default(max(image.height / 14, 6))
    small = ImageFont.load_default(max(image.height / 36, 5))
    lines = _wrap(picture.caption, font, image.width - 2 * margin)
    top = margin if picture.source is None else image.height // 2  # where the source has no caption, if made here
    pen.multiline_text((margin, top), "\n".join(lines), fill=INK, font=font, stroke_width=1, stroke_fill=SHADOW)
    foot = (margin, image.height - margin)
    pen.text(foot, picture.footer, fill=INK, font=small, anchor="ls", stroke_width=1, stroke_fill=SHADOW)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break the text into at most 6 lines, between words where there are any (there are none in Chinese)."""
    lines: list[str] = []
    rest = " ".join(text.split())
    while rest and len(lines) < MAX_LINES:
        end = _fitting(rest, font, width)
        if end < len(rest) and " " in rest[1 : end + 1]:
            end = rest.rindex(" ", 1, end + 1)
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    return lines


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> int:
    """Return how many letters fit into the width, 1 at least."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def _encode(image: Image.Image, image_format: str) -> bytes:
    file = BytesIO()
    image.save(file, image_format.upper(), quality=85)
    return file.getvalue()
