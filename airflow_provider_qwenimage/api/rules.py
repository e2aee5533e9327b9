"""What the service accepts in a request, field by field: the one place that knows.

Plain functions, so that operators can check literals while a DAG file is parsed without loading pydantic models.
Each returns the value or raises ``ValueError`` with a sentence that names the field and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard
from urllib.parse import urlsplit

ASPECT_RATIOS = ("3:4", "9:16", "4:3", "16:9")
MAX_OUTPUTS = 4
DEFAULT_ASPECT_RATIO = "16:9"
DEFAULT_MODEL_ID = "0-24"
MAX_UPLOAD_BYTES = 10 * 1024 * 1024  # of an input image


def prompt(value: Any) -> Any:
    """Any text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"prompt must be a text that is not blank, not {short(value)}")
    if not is_unicode(value):
        raise ValueError("prompt must be valid Unicode: it holds half of a surrogate pair")
    return value


def image_urls(value: Any) -> Any:
    """None, or exactly one http(s) URL, as a text or in a list."""
    if value is None:
        return None
    urls = [value] if isinstance(value, str) else value
    if not isinstance(urls, (list, tuple)) or len(urls) != 1:
        raise ValueError(f"image_urls must hold exactly one URL (leave it out for text-to-image), not {short(value)}")
    if not is_http_url(urls[0]):
        raise ValueError(f"image_urls must hold a public http:// or https:// URL, not {short(urls[0])}")
    return tuple(urls)


def aspect_ratio(value: Any) -> Any:
    """None, or one of the ratios that the service draws."""
    if value is not None and value not in ASPECT_RATIOS:
        raise ValueError(f"aspect_ratio must be one of {', '.join(ASPECT_RATIOS)}, not {short(value)}")
    return value


def num_outputs(value: Any) -> Any:
    """1 to 4; ``True`` is not a number here."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_OUTPUTS:
        raise ValueError(f"num_outputs must be a whole number from 1 to {MAX_OUTPUTS}, not {short(value)}")
    return value


def prompt_optimization(value: Any) -> Any:
    """``True`` (the service translates the prompt into English) or ``False``."""
    if not isinstance(value, bool):
        raise ValueError(f"prompt_optimization must be True or False, not {short(value)}")
    return value


def model_id(value: Any) -> Any:
    """The service's name of the model, a text that is not blank."""
    if not isinstance(value, str) or not value.strip() or not is_unicode(value):
        raise ValueError(f"model_id must be a text such as {DEFAULT_MODEL_ID!r}, not {short(value)}")
    return value


FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "prompt": prompt,
    "image_urls": image_urls,
    "aspect_ratio": aspect_ratio,
    "num_outputs": num_outputs,
    "prompt_optimization": prompt_optimization,
    "model_id": model_id,
}


def no_ratio_with_image(image_urls: Any, aspect_ratio: Any) -> None:
    """Refuse a ratio beside an image: the result has the image's own."""
    if image_urls is not None and aspect_ratio is not None:
        raise ValueError("aspect_ratio is for text-to-image only: leave it out when image_urls is given")


def is_http_url(value: Any) -> TypeGuard[str]:
    """Tell whether ``value`` is an absolute http(s) URL without blanks or control characters."""
    if not isinstance(value, str) or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and _is_host(parts.hostname or "") and parts.port != 0
    except ValueError:
        return False


def _is_host(name: str) -> bool:
    return all(0 < len(label) < 64 for label in name.removesuffix(".").split("."))


def is_unicode(value: str) -> bool:
    """Tell whether a text can be sent at all: half of a surrogate pair can't."""
    return not any("\ud800" <= char <= "\udfff" for char in value)


def short(value: Any) -> str:
    """Return ``repr(value)``, cut so that it fits into an error text."""
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
