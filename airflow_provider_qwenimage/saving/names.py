"""How a file gets its name: deterministic, and never outside its folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from string import Formatter
from urllib.parse import urlsplit

from airflow_provider_qwenimage.api.errors import InvalidRequestError
from airflow_provider_qwenimage.exceptions import airflow_errors

PLACEHOLDERS = ("generation_id", "index", "ext", "sha256")
KEY = "key"  # only where there are many requests


def fill_in(template: str, *, generation_id: str, index: int, ext: str, digest: str, key: str = "") -> str:
    """Return the path of one image below its folder.

    :raises InvalidRequestError: it would lie elsewhere.
    """
    return inside(template.format(generation_id=generation_id, index=index, ext=ext, sha256=digest, key=key))


def file_safe(generation_id: str) -> str:
    """Return a generation id as a part of a file name: itself, or a digest of one that could lead elsewhere.

    The service chooses it, after the purchase: refusing a strange one would lose an image that is paid for.
    """
    if re.fullmatch(r"\w[\w.-]{0,127}", generation_id, re.ASCII):
        return generation_id
    return sha256(generation_id.encode()).hexdigest()[:32]


def check_file_name(template: str, images: int = 1, *, keyed: bool = False) -> None:
    """Check a name template before anything is fetched or bought.

    :param images: how many images of one generation will be named with it.
    :param keyed: whether it names the images of many requests, each with a key.
    :raises InvalidRequestError: an unknown placeholder, a name that leaves the folder, or one for several images.
        Not retried by Airflow.
    """
    with airflow_errors():
        _check(template, images, keyed)


def _check(template: str, images: int, keyed: bool) -> None:
    if not isinstance(template, str):
        raise InvalidRequestError(
            f"file_name must be a text such as '{{generation_id}}_{{index}}.{{ext}}', not {template!r}."
        )
    allowed = (*PLACEHOLDERS, KEY) if keyed else PLACEHOLDERS
    try:
        parts = [(field, form or "") for _, field, form, _ in Formatter().parse(template) if field is not None]
        sample = template.format(generation_id="g", index=0, ext="jpeg", sha256="0" * 64, key="k")
    except (ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise InvalidRequestError(_bad_name(template, f"it can't be filled in ({error})", allowed)) from None
    used = {field for field, _ in parts}
    if any("{" in form for _, form in parts):  # it would depend on an id that only the purchase tells
        raise InvalidRequestError(_bad_name(template, "one placeholder stands inside another", allowed))
    if used - set(allowed):
        raise InvalidRequestError(_bad_name(template, "it has other placeholders", allowed))
    if images > 1 and not used & {"index", "sha256"}:
        why = f"{images} images would get the same name: add {{index}}"
        raise InvalidRequestError(_bad_name(template, why, allowed))
    if keyed and not used & {"generation_id", "sha256", KEY}:
        raise InvalidRequestError(_bad_name(template, "all requests would share it: add {key}", allowed))
    inside(sample)


def inside(name: str) -> str:
    """Return ``name`` if it is a relative path that stays below its folder.

    :raises InvalidRequestError: it does not.
    """
    parts = name.split("/")
    if "\\" in name or not name.isprintable() or any(part.strip() in ("", ".", "..") for part in parts):
        raise InvalidRequestError(f"The file name {name[:200]!r} is not a plain path below output_path.")
    return name


def generation_of(urls: Sequence[str]) -> str:
    """Return a stable name for what the URLs belong to: their generation id if they show one, else a digest of them."""
    stems = {found.group(1) for url in urls if (found := re.search(r"/([\w-]{8,128})_\d+\.\w+$", urlsplit(url).path))}
    if len(stems) == 1:
        return stems.pop()
    return sha256("\n".join(urlsplit(url)._replace(query="").geturl() for url in urls).encode()).hexdigest()[:32]


def _bad_name(template: str, why: str, allowed: Sequence[str]) -> str:
    placeholders = ", ".join(f"{{{name}}}" for name in allowed)
    return f"The file_name {template[:200]!r} can't be used: {why}. Placeholders are {placeholders}."
