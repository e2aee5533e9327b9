"""One item of a batch: a row turned into a request that follows the service's rules, or a sentence why it can't be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from airflow_provider_qwenimage.api.errors import InvalidRequestError
from airflow_provider_qwenimage.api.rules import is_http_url, short
from airflow_provider_qwenimage.batch.literals import FIELDS
from airflow_provider_qwenimage.durable import fingerprint_of
from airflow_provider_qwenimage.fields import REQUEST_FIELDS, build_request, the_one
from airflow_provider_qwenimage.operators.generate import STAND_IN

LONGEST_KEY = 200
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Item:
    """What is asked for.

    :param key: the user's name for it, unique in the batch.
    :param request: the request's fields as the service gets them, without those that are None.
    :param image: an input image that has to be uploaded first: a path for ``ObjectStoragePath``.
    :param fingerprint: digest of request, image and connection; equal items are equal purchases.
    """

    key: str
    request: Mapping[str, Any] = field(repr=False)
    image: str | None
    fingerprint: str


class ItemMaker:
    """Makes items of rows.

    :param defaults: fields for items that do not say; a ratio goes to items without an image only.
    :param conn_id: the connection that pays.
    :param prefix: of the keys of items that have none of their own.
    """

    def __init__(self, defaults: Mapping[str, Any], conn_id: str, prefix: str = "") -> None:
        self._defaults = {name: value for name, value in defaults.items() if value is not None}
        self._conn_id = conn_id
        self._prefix = prefix

    def make(self, content: Any, position: int) -> Item:
        """Return the item of one row.

        :param content: a prompt, or a mapping of request fields, ``image`` and ``key``.
        :param position: its place among the items, from 0: with the prefix, the key of one that has none.
        :raises InvalidRequestError: it breaks a rule.
        """
        given = _fields(content)
        key = checked_key(given.pop("key", f"{self._prefix}{position}"))
        image = the_one("image", given.pop("image", None))
        if image is not None:
            _check_image(image, given)
            given["image_urls"] = image if is_http_url(image) else STAND_IN
        fields = dict.fromkeys(REQUEST_FIELDS) | self._defaults | given
        if "image_urls" in given and "aspect_ratio" not in given:
            fields["aspect_ratio"] = None
        request = build_request(**fields)
        to_upload = None if is_http_url(image) else image
        asked = request.model_dump(mode="json", exclude_none=True, exclude={"image_urls"} if to_upload else None)
        return Item(key, asked, to_upload, fingerprint_of({**request.payload(), "image": to_upload}, self._conn_id))


def checked_key(value: Any) -> str:
    """Return the text that an item's key is.

    :raises InvalidRequestError: it is blank, too long, holds control characters, or is no text and no whole number.
    """
    key = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(key, str) or not key.strip() or not key.isprintable():
        raise InvalidRequestError(f"key must be a text on one line that is not blank, not {short(value)}")
    if len(key) > LONGEST_KEY:
        raise InvalidRequestError(f"key has {len(key)} characters, and {LONGEST_KEY} are allowed")
    return key


def name_of(key: str) -> str:
    """Return a key as a part of a file name: itself, or, if it could lead elsewhere, its letters and a digest."""
    if re.fullmatch(rf"\w[\w.-]{{0,{_LONGEST_NAME - 1}}}", key, re.ASCII):
        return key
    plain = re.sub(r"[^\w.-]+", "-", key, flags=re.ASCII).strip("-.")[: _LONGEST_NAME - 13]
    return f"{plain or 'key'}-{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _fields(content: Any) -> dict[str, Any]:
    fields = {"prompt": content} if isinstance(content, str) else content
    if not isinstance(fields, Mapping):
        raise InvalidRequestError(f"it must be a prompt or an object with request fields, not {short(content)}")
    if unknown := [name for name in fields if name not in FIELDS]:
        raise InvalidRequestError(f"{short(unknown)} is not a field of a request (fields: {', '.join(FIELDS)})")
    return {name: value for name, value in fields.items() if value is not None}


def _check_image(image: str, given: Mapping[str, Any]) -> None:
    if "image_urls" in given:
        raise InvalidRequestError("image and image_urls are two ways to give one image: leave one of them out")
    if not is_http_url(image) and "://" not in image and not image.startswith("/"):
        raise InvalidRequestError(f"image must be a URL or an absolute path, not {short(image)}")
