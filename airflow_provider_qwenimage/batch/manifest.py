"""What became of every request: one JSON line each, in the order of the input."""

from __future__ import annotations

import json
import posixpath
import re
from itertools import chain, islice
from typing import Any

from airflow_provider_qwenimage.batch.index import Index
from airflow_provider_qwenimage.batch.ledger import Identity
from airflow_provider_qwenimage.saving.scratch import scratch
from airflow_provider_qwenimage.saving.storage import filesystem_of, store

LONGEST_PART = 50


def default_name(identity: Identity) -> str:
    """Return the manifest's name in the output folder: the same for all tries of a task instance, and no other's."""
    dag_id, run_id, task_id, map_index = identity.task
    parts = [_plain(part) for part in (dag_id, task_id, run_id)] + ([map_index] if map_index != "-1" else [])
    return f"manifest-{'.'.join(parts)}-{identity.digest[:8]}.jsonl"


def one_s_own(path: str, map_index: str) -> str:
    """Return the path of a mapped task's manifest, where all of them were given the same one."""
    root, extension = posixpath.splitext(path)
    return f"{root}-{map_index}{extension}"


def write_manifest(index: Index, marker: int | None, path: Any) -> None:
    """Write the manifest and put it in place in one step.

    :param marker: of the run that it is about; None for all runs.
    :param path: an ``ObjectStoragePath``.
    """
    with scratch() as file:
        for result in index.results(marker):
            file.write(f"{json.dumps(result, ensure_ascii=False)}\n".encode())
        store(file, path, filesystem_of(path))


def first_images(index: Index, marker: int | None, limit: int) -> list[dict[str, Any]]:
    """Return the records of the first images that were saved."""
    return list(islice(chain.from_iterable(result["images"] for result in index.results(marker)), limit))


def _plain(text: str) -> str:
    return re.sub(r"[^\w-]+", "-", text, flags=re.ASCII).strip("-")[:LONGEST_PART] or "x"
