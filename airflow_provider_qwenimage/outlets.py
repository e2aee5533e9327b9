"""Tells Airflow's assets (datasets, on 2.11) what was made: a DAG scheduled on them knows where to look."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from airflow_provider_qwenimage._compat import AIRFLOW, AIRFLOW_3, asset_types

LOCAL = ("", "file", "local")  # protocols of an ObjectStoragePath


def announce(operator: Any, context: Any, folder: str | None, records: Sequence[dict[str, Any]]) -> None:
    """Add what was made to the events of the operator's declared outlets.

    An asset's event gets ``extra`` with ``paths`` and ``generation_id``; an alias gets one asset, the folder.

    :param folder: where the images were saved; None if they were not.
    """
    paths = [record["path"] for record in records if record["path"]]
    extra = {
        "paths": paths if AIRFLOW_3 else tuple(paths),  # 2.11 puts what an alias is given into a set
        "generation_id": records[0]["generation_id"],
    }
    tell_outlets(operator, context, folder, extra)


def tell_outlets(operator: Any, context: Any, folder: str | None, extra: dict[str, Any]) -> None:
    """Add ``extra`` to the events of the operator's declared outlets; an alias gets the folder as its asset.

    On Airflow 3.0 an alias gets the lists in ``extra`` as JSON texts.
    """
    outlets = getattr(operator, "outlets", None)
    if not outlets or "outlet_events" not in context:
        return
    asset, alias = asset_types()
    for outlet in outlets:
        if isinstance(outlet, asset):
            context["outlet_events"][outlet].extra = extra
        elif isinstance(outlet, alias) and folder:
            context["outlet_events"][outlet].add(asset(uri_of(folder)), extra=_for_alias(extra))


def _for_alias(extra: dict[str, Any]) -> dict[str, Any]:
    """Return what Airflow can store: 3.0's API server puts these values into a set, and fails the task over a list."""
    if AIRFLOW != (3, 0):
        return extra
    return {name: json.dumps(value) if isinstance(value, list) else value for name, value in extra.items()}


def uri_of_file(path: Any) -> str:
    """Return an ``ObjectStoragePath`` as the URI of an asset."""
    return uri_of(path.path if path.protocol in LOCAL else str(path))


def uri_of(path: str) -> str:
    """Return a path as the URI of an asset: with a scheme, without the connection id that a path may name."""
    if "://" not in path:
        return f"file://{path}"
    return re.sub(r"^(\w[\w+.-]*://)[^/@]*@", r"\1", path)
