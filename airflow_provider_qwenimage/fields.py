"""Operator arguments: literals are checked when the DAG file is parsed, rendered values before anything is sent.

Jinja renders to text, so that ``"{{ params.n }}"`` arrives as ``"2"`` and a list as its ``repr``: both are read back.
So are literal texts, which a mapped task gets from the rows of a table.
"""

from __future__ import annotations

import ast
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_qwenimage.api import rules
from airflow_provider_qwenimage.api.errors import InvalidRequestError
from airflow_provider_qwenimage.exceptions import airflow_errors

if TYPE_CHECKING:
    from airflow_provider_qwenimage.api.models import GenerationRequest

REQUEST_FIELDS = ("prompt", "image_urls", "aspect_ratio", "num_outputs", "prompt_optimization", "model_id")
YEAR = 365 * 24 * 3600  # seconds; far longer times overflow where they are added to a date


def is_literal(value: Any) -> bool:
    """Tell whether a value is what it will be at run time: no template, no output of another task."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, (list, tuple)):
        return all(map(is_literal, value))
    return value is None or isinstance(value, (bool, int, float, dict))


def is_of_another_task(value: Any) -> bool:
    """Tell whether a value is what another task returns, or a template that pulls it."""
    return "xcom_pull" in value if isinstance(value, str) else not is_literal(value)


def check_literals(**fields: Any) -> None:
    """Check those request fields that are literals already.

    :raises InvalidRequestError: one breaks a rule of the service.
    """
    literals = {name: read_back(name, value) for name, value in fields.items() if is_literal(value)}
    with airflow_errors():
        for name, value in literals.items():
            _apply(rules.FIELDS[name], value)
        if {"image_urls", "aspect_ratio"} <= literals.keys():
            _apply(rules.no_ratio_with_image, literals["image_urls"], literals["aspect_ratio"])


def build_request(**fields: Any) -> GenerationRequest:
    """Return the request that rendered fields ask for.

    :raises InvalidRequestError: at least one breaks a rule of the service; the text names them all.
    """
    from airflow_provider_qwenimage.api.models import GenerationRequest

    with airflow_errors():
        return GenerationRequest.checked(**{name: read_back(name, value) for name, value in fields.items()})


def read_back(name: str, value: Any) -> Any:
    """Return what the text of a request field stands for; anything else unchanged."""
    if name == "num_outputs":
        return whole_number(value)
    if name == "prompt_optimization":
        return yes_or_no(value)
    if name == "aspect_ratio":
        return none_if_empty(value)
    return text_list(none_if_empty(value)) if name == "image_urls" else value


def whole_number(value: Any) -> Any:
    """Return the int that a rendered text stands for; anything else unchanged."""
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def yes_or_no(value: Any) -> Any:
    """Return the bool that a rendered ``True`` or ``false`` stands for; anything else unchanged."""
    return {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value


def none_if_empty(value: Any) -> Any:
    """Return None for what an absent value renders to; anything else unchanged."""
    return None if isinstance(value, str) and value.strip() in ("", "None") else value


def text_list(value: Any) -> Any:
    """Return the list that a rendered ``['…', '…']`` stands for; anything else unchanged."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value
    return value


def number_or_none(name: str, value: Any) -> float | None:
    """Return the number, not negative, that a field holds; None for none.

    :raises InvalidRequestError: it holds something else.
    """
    value = none_if_empty(value)
    if value is None:
        return None
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < inf:
        raise_invalid(f"{name} must be a number that is not negative, not {rules.short(value)}.")
    return number


def required_text(name: str, value: Any) -> str:
    """Return a text field.

    :raises InvalidRequestError: it is empty or no text, as after an upstream task that returned nothing.
    """
    if not isinstance(none_if_empty(value), str):
        raise_invalid(f"{name} must be a text, not {rules.short(value)}: did the task that it comes from return it?")
    return str(value)


def the_one(name: str, value: Any) -> str | None:
    """Return the text that a field holds, alone or in a list of one, as another task returns it; None for none.

    :raises InvalidRequestError: it holds something else.
    """
    value = text_list(none_if_empty(value))
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise_invalid(f"{name} must hold exactly one path or URL, not {rules.short(value)}.")
    return value


def check_output_path(value: Any, name: str = "output_path") -> str:
    """Return the path; refuse a relative one, which would depend on where a worker happens to run.

    :raises InvalidRequestError: it is relative or empty.
    """
    path = required_text(name, None if value is None else str(value))
    if "://" not in path and not path.startswith("/"):
        raise_invalid(f"{name} must be an absolute path or a URL such as s3://bucket/folder, not {path!r}.")
    return path


def in_seconds(name: str, value: Any) -> float:
    """Return a time in seconds.

    :param value: a number of seconds, or a timedelta.
    :raises InvalidRequestError: it is none, not above 0, or longer than a year; found late, it would fail a task that
        has paid.
    """
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number <= YEAR:
        raise_invalid(
            f"{name} must be a number of seconds above 0 and at most {YEAR:,} (a year), not {rules.short(value)}."
        )
    return number


def raise_invalid(message: str) -> NoReturn:
    """Raise ``InvalidRequestError``, final for Airflow."""
    with airflow_errors():
        raise InvalidRequestError(message)


def _apply(rule: Any, *values: Any) -> None:
    try:
        rule(*values)
    except ValueError as error:
        raise InvalidRequestError(f"The request is invalid: {error}.") from None
