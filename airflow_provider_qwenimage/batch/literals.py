"""What can be checked while a DAG file is parsed. Loads nothing of weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_qwenimage.api.rules import short
from airflow_provider_qwenimage.fields import REQUEST_FIELDS, check_literals, is_literal, raise_invalid

FIELDS = (*REQUEST_FIELDS, "image", "key")
FILES = (".jsonl", ".ndjson", ".csv")


def check_path(path: str) -> None:
    """Refuse a text that is no path of a file with requests.

    :raises InvalidRequestError: it is none.
    """
    if not path.lower().endswith(FILES) or ("://" not in path and not path.startswith("/")):
        raise_invalid(
            f"requests must be a list, or the absolute path or URL of a file that ends in {', '.join(FILES)}, "
            f"not {short(path)}."
        )


def check_literal(number: int, request: Any) -> None:
    """Check one request of a list as far as it is a literal.

    :raises InvalidRequestError: it breaks a rule, or has a field that is none.
    """
    if not is_literal(request):
        return
    fields = {"prompt": request} if isinstance(request, str) else request
    if not isinstance(fields, Mapping) or "prompt" not in fields:
        raise_invalid(f"Item {number} of requests must be a prompt, or a dict with one, not {short(request)}.")
    if unknown := [name for name in fields if name not in FIELDS]:
        raise_invalid(f"Item {number} of requests has {short(unknown)}, which are no fields: {', '.join(FIELDS)}.")
    check_literals(**{name: fields[name] for name in REQUEST_FIELDS if fields.get(name) is not None})
