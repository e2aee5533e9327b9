"""What the page shows of one image: a card."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from airflow_provider_qwenimage.ui.records import Image
from airflow_provider_qwenimage.ui.urls import Place

_HOST = re.compile(r"(?=.{4,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]", re.I)
_LOOPBACK = ("localhost", "127.0.0.1")
_NOT_PUBLIC = (".local", ".internal", ".localhost")


@dataclass(frozen=True)
class Card:
    """An image and how to show it.

    :param place: the task instance that made it.
    :param source: address for the browser to load it from; None if it can't.
    :param origin: the other server that this is on, if it is: the page must allow it.
    :param note: why it is not shown, or not from where it was saved.
    """

    image: Image
    place: Place
    source: str | None = None
    origin: str | None = None
    note: str | None = None

    @property
    def alt(self) -> str:
        """What a screen reader says in the image's place."""
        return " ".join(self.image.prompt.split()) if self.image.prompt else f"Image {self.image.position + 1}"

    @property
    def task(self) -> str:
        """The task instance, for people."""
        return f"{self.place.task_id}{f' [{self.place.map_index}]' if (self.place.map_index or 0) >= 0 else ''}"

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What matters at a glance, as names and texts."""
        image = self.image
        pixels = f"{image.width} × {image.height} px" if image.width and image.height else None
        return _known(Pixels=pixels, Size=size(image.bytes), Took=duration(image.seconds))

    @property
    def details(self) -> list[tuple[str, str]]:
        """The rest, as names and texts."""
        image = self.image
        prompt = image.prompt if image.prompt and len(image.prompt) > 100 else None  # else it is all there above
        return _known(Prompt=prompt, Model=image.model_id, Generation=image.generation_id, File=image.path)


def _known(**facts: str | None) -> list[tuple[str, str]]:
    return [(name, text) for name, text in facts.items() if text]


def card(image: Image, place: Place, prefix: str, loopback: bool) -> Card:
    """Return the card of an image.

    :param prefix: path under which these pages are served.
    :param loopback: whether the reader's browser runs on the server's machine, so that an emulator there can be shown.
    """
    if image.servable:
        return Card(image, place, f"{prefix}{place.image(image.position)}")
    if image.path:
        return Card(image, place, note="Not shown: its record has no SHA-256 digest to tell the file by.")
    # The browser itself loads it, as it would any link: the server fetches no address that a record tells it.
    origin = public_origin(image.url or "", loopback)
    if origin is None:
        return Card(image, place, note="Not saved, and its address is not that of a public image.")
    return Card(image, place, image.url, origin, "Not saved: shown from the service, where it will expire.")


def public_origin(url: str, loopback: bool = False) -> str | None:
    """Return the origin of an image's address if a page may make a browser load it: https, and a public name.

    :param loopback: allow this machine too, over http.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if "@" in parts.netloc or "\\" in url:
        return None
    local = loopback and parts.scheme in ("http", "https") and host in _LOOPBACK
    public = parts.scheme == "https" and _HOST.fullmatch(host) and not host.endswith(_NOT_PUBLIC)
    if not (local or public):
        return None
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def size(count: int | None) -> str | None:
    """Return a number of bytes for people."""
    if count is None:
        return None
    amount, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{count} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def duration(seconds: float | None) -> str | None:
    """Return a number of seconds for people."""
    if seconds is None:
        return None
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
