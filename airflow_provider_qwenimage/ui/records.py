"""One image's record, as a task pushed it with the XCom ``images``: cleaned, since anybody may have pushed it.

Who may write a DAG, or an XCom over the REST API, decides what is in a record. So each field is taken only if it is
what it should be, and nothing here raises.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NO_LIST = (
    "its XCom “images” is not a list of images, so they can't be shown here "
    "(a custom XCom backend keeps it where only workers read it)."
)
# "images" is a word that other people's tasks use too; a record of ours has at least one of these.
OURS = ("generation_id", "sha256")
TEXT, LONG_TEXT = 250, 20_000
LARGEST = 2**53


@dataclass(frozen=True)
class Image:
    """What is known of an image; None where the record says nothing that can be used.

    :param position: of the record in the XCom, from 0: the image's address on these pages.
    :param path: where it was saved, for ``ObjectStoragePath``.
    :param url: where the service has it, for a while.
    :param bytes: length of the file.
    :param seconds: from the submission to the result.
    """

    position: int
    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    prompt: str | None = None
    model_id: str | None = None
    generation_id: str | None = None
    width: int | None = None
    height: int | None = None
    bytes: int | None = None
    seconds: float | None = None

    @property
    def servable(self) -> bool:
        """Whether the file can be told from any other: only such a file is ever sent (see ``files``)."""
        return self.path is not None and self.sha256 is not None


@dataclass(frozen=True)
class Records:
    """What an XCom holds: its images, how many of its entries are none, and why nothing can be shown, if so.

    :param too_long: it was not even read.
    """

    images: tuple[Image, ...] = ()
    skipped: int = 0
    problem: str | None = None
    too_long: bool = False


def read_records(raw: str | None) -> Records:
    """Read an XCom's value.

    :param raw: its JSON as the database has it.
    """
    value = _loaded(raw)
    if isinstance(value, str):  # stored through XComModel.set, it is JSON in JSON
        value = _loaded(value)
    if not isinstance(value, list):
        return Records(problem=_NO_LIST)
    images = tuple(image for position, entry in enumerate(value) if (image := read_record(entry, position)))
    return Records(images, skipped=len(value) - len(images))


def _loaded(raw: str | None) -> Any:
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None


def read_record(entry: Any, position: int) -> Image | None:
    """Return the image of one record; None if it is none of ours, or names neither a file nor a URL."""
    if not isinstance(entry, Mapping) or not any(key in entry for key in OURS):
        return None
    path, url = _exact(entry.get("path")), _exact(entry.get("url"))
    if path is None and url is None:
        return None
    return Image(
        position=position,
        path=path,
        url=url,
        sha256=_digest(entry.get("sha256")),
        prompt=_text(entry.get("prompt"), LONG_TEXT),
        model_id=_text(entry.get("model_id")),
        generation_id=_text(entry.get("generation_id")),
        width=_count(entry.get("width")),
        height=_count(entry.get("height")),
        bytes=_count(entry.get("bytes")),
        seconds=_seconds(entry.get("seconds")),
    )


def _exact(value: Any) -> str | None:
    """Return an address if it can be used as it is: to repair one is to open another."""
    if not isinstance(value, str) or not 0 < len(value) <= 4096 or not value.isprintable():
        return None
    return value


def _text(value: Any, limit: int = TEXT) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    value = value.strip()[:limit].encode("utf-8", "replace").decode()  # JSON may hold half of a surrogate pair
    return "".join(char if char.isprintable() or char == "\n" else " " for char in value)


def _digest(value: Any) -> str | None:
    return value if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < LARGEST else None


def _seconds(value: Any) -> float | None:
    if type(value) not in (int, float) or not 0 <= value < LARGEST or math.isnan(value):
        return None
    return float(value)
