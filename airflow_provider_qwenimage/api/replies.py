"""What the ``data`` of each reply means. Pure; raises what can't be right as ``UnexpectedReplyError``."""

from __future__ import annotations

from math import isfinite, nan
from typing import Any

from airflow_provider_qwenimage.api import rules
from airflow_provider_qwenimage.api.errors import NoImagesError, UnexpectedReplyError
from airflow_provider_qwenimage.api.models import Generation, GenerationStatus, Submission, UploadForm


def submission(data: dict[str, Any]) -> Submission:
    """Read the reply to create: a strange estimate is not worth losing a paid id for, a missing id can't be borne."""
    found = data.get("task_id")
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)  # an id of an unexpected type is still the only handle on something that was paid for
    if not is_id(found):
        raise UnexpectedReplyError("The reply to create reports success without a task_id.")
    return Submission(generation_id=str(found), estimated_time=_usable_seconds(data.get("estimated_time")))


def is_id(value: Any) -> bool:
    """Tell whether a value can be a generation's id."""
    return isinstance(value, str) and bool(value.strip()) and rules.is_unicode(value)


def _usable_seconds(value: Any) -> float | None:
    """Return an estimate that can be waited for; a strange one is not worth losing a paid id for."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86_400:
        return None
    return value


def generation(generation_id: str, data: dict[str, Any]) -> Generation:
    """Read the reply to get.

    :raises NoImagesError: the generation is completed without images.
    """
    found = data.get("task_id", generation_id)
    if str(found) != generation_id:
        raise UnexpectedReplyError(f"The reply to get is about another generation than {generation_id}.")
    status = _read_status(data.get("status"))
    if status is not GenerationStatus.COMPLETED:
        return Generation(generation_id=generation_id, status=status)
    return Generation(
        generation_id=generation_id, status=status, result_urls=_read_urls(generation_id, data.get("result_urls"))
    )


def _read_status(value: Any) -> GenerationStatus:
    if isinstance(value, int) and not isinstance(value, bool) and value in GenerationStatus.__members__.values():
        return GenerationStatus(value)
    raise UnexpectedReplyError(f"The reply to get has the unknown status {rules.short(value)}.")


def _read_urls(generation_id: str, value: Any) -> tuple[str, ...]:
    """Read the images of a completed generation; a blank entry is not worth losing paid images beside it for."""
    found = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(found, list):
        raise UnexpectedReplyError(_NOT_URLS)
    urls = [url for url in found if not _is_blank(url)]
    if not urls:
        raise NoImagesError(f"Generation {generation_id} is completed but has no images.", generation_id=generation_id)
    if not all(map(rules.is_http_url, urls)):
        raise UnexpectedReplyError(_NOT_URLS)
    return tuple(urls)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


_NOT_URLS = "The reply to get has result_urls that are not a list of http(s) URLs."


def credit_balance(data: dict[str, Any]) -> float:
    """Read the reply to get_credits."""
    found = data.get("credits")
    try:
        balance = nan if isinstance(found, bool) or not isinstance(found, (int, float)) else float(found)
    except OverflowError:
        balance = nan
    if not isfinite(balance):
        raise UnexpectedReplyError("The reply to get_credits has no number of credits.")
    return balance


def upload_form(data: dict[str, Any]) -> UploadForm:
    """Read the reply to pre_url."""
    target, image_url = data.get("upload_url"), data.get("image_url")
    url, fields = (target.get("url"), target.get("fields")) if isinstance(target, dict) else (None, None)
    if not rules.is_http_url(url) or not rules.is_http_url(image_url):
        raise UnexpectedReplyError("The reply to pre_url has no usable upload_url or image_url.")
    if not isinstance(fields, dict) or not all(isinstance(value, str) for value in fields.values()):
        raise UnexpectedReplyError("The reply to pre_url has form fields that are not texts.")
    return UploadForm(url=url, fields=fields, image_url=image_url)
