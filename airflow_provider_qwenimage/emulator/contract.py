"""The published rules of each request body, and what is said to a request that breaks one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODEL_ID = "0-24"
ASPECT_RATIOS = ("3:4", "9:16", "4:3", "16:9")
MAX_OUTPUTS = 4
MAX_IMAGE_BYTES = 10 * 1024 * 1024
FORM_LIFETIME = 600
"""Seconds for which an upload form can be used."""
CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
MAGIC_BYTES = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}

_WORDS: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


class Refusal(Exception):
    """
    The emulator says no to a request.

    :param message: what the caller reads
    :param status: the HTTP status, where errors have one of their own
    :param violation: whether the caller broke the contract (and didn't merely run out of credits, say)
    """

    def __init__(self, message: str, *, status: int = 400, violation: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.violation = violation


def broken(message: str, *, status: int = 400) -> Refusal:
    """Build the refusal of a request that breaks the contract; ``message`` names the field."""
    return Refusal(message, status=status, violation=True)


def invalid_image_format(*, violation: bool) -> Refusal:
    """Build the published refusal of a picture that is neither JPEG nor PNG."""
    return Refusal("Invalid image format", violation=violation)


@dataclass(frozen=True)
class Order:
    """What an accepted ``create`` asks for."""

    prompt: str
    num_outputs: int
    aspect_ratio: str | None
    image_url: str | None

    @property
    def digest(self) -> bytes:
        """32 bytes that are the same for the same order, to choose a picture's colours from."""
        return hashlib.sha256(json.dumps([self.prompt, self.aspect_ratio, self.image_url]).encode()).digest()


def parse_json(body: bytes) -> Any:
    """
    Read a request body.

    :raises Refusal: it isn't JSON as the standard has it (so no ``NaN`` either)
    """
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError):  # ValueError is also bad UTF-8 and an integer of 5,000 digits
        raise broken("The body must be JSON") from None


def check_create(body: Any) -> Order:
    """
    Check the body of ``create``.

    :raises Refusal: naming the field that breaks the contract
    """
    _check_object(body, "", {"prompt": str, "model_id": str, "options": dict}, {"image_urls": list})
    if not body["prompt"].strip():
        raise broken("prompt must not be blank")
    if body["model_id"] != MODEL_ID:
        raise broken(f'model_id must be "{MODEL_ID}"')
    options = body["options"]
    _check_object(options, "options.", {"prompt_optimization": bool, "num_outputs": int}, {"aspect_ratio": str})
    if not 1 <= options["num_outputs"] <= MAX_OUTPUTS:
        raise broken(f"options.num_outputs must be 1 to {MAX_OUTPUTS}")
    image_url = _check_image_urls(body)
    ratio = _check_aspect_ratio(options, image_url)
    return Order(body["prompt"], options["num_outputs"], ratio, image_url)


def check_get(body: Any) -> str:
    """
    Check the body of ``get``.

    :return: the id of the generation that is asked for
    :raises Refusal: naming the field that breaks the contract
    """
    _check_object(body, "", {"task_id": str})
    return str(body["task_id"])


def check_pre_url(body: Any) -> tuple[str, str]:
    """
    Check the body of ``pre_url``.

    :return: extension with its dot, content type
    :raises Refusal: naming the field, or as published if the format isn't supported
    """
    _check_object(body, "", {"image_name": str, "content_type": str})
    stem, dot, suffix = body["image_name"].rpartition(".")
    extension = f".{suffix.lower()}"
    if not (stem and dot and CONTENT_TYPES.get(extension) == body["content_type"]):
        raise invalid_image_format(violation=True)
    return extension, body["content_type"]


def _check_image_urls(body: Mapping[str, Any]) -> str | None:
    if "image_urls" not in body:
        return None
    urls = body["image_urls"]
    if len(urls) != 1 or type(urls[0]) is not str:
        raise broken("image_urls must hold exactly 1 string; omit it for text-to-image")
    if not urls[0].startswith(("http://", "https://")):
        raise broken("Invalid image url")
    return str(urls[0])


def _check_aspect_ratio(options: Mapping[str, Any], image_url: str | None) -> str | None:
    ratio = options.get("aspect_ratio")
    if image_url is not None and ratio is not None:
        raise broken("options.aspect_ratio must be absent when image_urls is given")
    if image_url is None and ratio not in ASPECT_RATIOS:
        raise broken(f"options.aspect_ratio must be one of {', '.join(ASPECT_RATIOS)} when image_urls is absent")
    return ratio


def _check_object(
    value: Any, prefix: str, required: Mapping[str, type], optional: Mapping[str, type] | None = None
) -> None:
    """Refuse anything but an object with these fields of exactly these types (so ``true`` is no integer)."""
    if type(value) is not dict:
        raise broken(f"The body must be an object, not {_WORDS[type(value)]}")
    known = {**required, **(optional or {})}
    for name, content in value.items():
        if name not in known:
            raise broken(f"{prefix}{name[:100]} is not a known field")
        if type(content) is not known[name]:
            raise broken(f"{prefix}{name} must be {_WORDS[known[name]]}, not {_WORDS[type(content)]}")
    for name in required:
        if name not in value:
            raise broken(f"{prefix}{name} is required")


def _no_constant(name: str) -> None:
    raise ValueError(name)
