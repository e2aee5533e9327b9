"""Saves the images of a generation, several at a time, and says what was saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from io import BytesIO
from itertools import chain
from typing import Any, BinaryIO

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage.api.download import Downloader
from airflow_provider_qwenimage.api.downloading import Downloaded
from airflow_provider_qwenimage.api.embed import embed
from airflow_provider_qwenimage.exceptions import airflow_errors
from airflow_provider_qwenimage.outlets import announce
from airflow_provider_qwenimage.saving.names import fill_in
from airflow_provider_qwenimage.saving.scratch import scratch
from airflow_provider_qwenimage.saving.storage import filesystem_of, store, tell_lineage
from airflow_provider_qwenimage.saving.threads import Threads


@dataclass(frozen=True)
class Delivery:
    """Where images go and what goes with them.

    :param folder: an ``ObjectStoragePath``.
    :param file_name: template of the names, see ``names``.
    :param generation_id: whose images they are.
    :param key: fills ``{key}``, where there are keys.
    :param facts: what else is known, added to every record: ``prompt``, ``model_id``, ``seconds`` and such.
    :param sidecar: whether a JSON file with the record is stored beside each image, as ``<image>.json``.
    :param embed_metadata: whether the facts are written into the image as XMP.
    """

    folder: Any
    file_name: str
    generation_id: str
    key: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    sidecar: bool = False
    embed_metadata: bool = False


def deliver(
    operator: Any, context: Any, urls: Sequence[str], delivery: Delivery, downloader: Downloader
) -> list[dict[str, Any]]:
    """Save the images of a task, log and record them: the XCom ``images``, metrics, asset events.

    :param downloader: fetches and checks them; it is closed.
    :return: the records, see ``save_images``.
    :raises ImageError: an image could not be fetched or is broken; the others were saved.
    :raises OSError: an image could not be stored.
    """
    records, errors = save_images(urls, delivery, downloader)
    for record in records:
        operator.log.info(
            "Saved %s (%s bytes, %s x %s)", *(record[key] for key in ("path", "bytes", "width", "height"))
        )
    for error in errors[1:]:
        operator.log.error("An image was not saved: %s", error)
    metrics.count("bytes_saved", sum(record["bytes"] for record in records))
    _push(operator, context, records)
    if errors:
        with airflow_errors():
            raise errors[0]
    announce(operator, context, str(delivery.folder), records)
    return records


def not_saved(
    operator: Any, context: Any, urls: Sequence[str], generation_id: str, facts: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Record images that stay at the service; what is only known of a saved file is None."""
    unknown = dict.fromkeys(("path", "width", "height", "content_type", "bytes", "sha256"))
    records = [
        {**unknown, "url": url, "index": index, "generation_id": generation_id, **facts}
        for index, url in enumerate(urls)
    ]
    _push(operator, context, records)
    announce(operator, context, None, records)
    return records


def _push(operator: Any, context: Any, records: list[dict[str, Any]]) -> None:
    if operator.do_xcom_push:
        context["ti"].xcom_push(key="images", value=records)


def save_images(
    urls: Sequence[str], delivery: Delivery, downloader: Downloader
) -> tuple[list[dict[str, Any]], list[Exception]]:
    """Save all images; one that fails does not stop the others.

    What a signal raises here meanwhile, as when ``execution_timeout`` is over, is not held up by slow downloads:
    nothing more is fetched, and an image that was fetched may be stored still; see ``Threads``.

    :return: a record for each saved image, in order (``path``, ``url``, ``index``, ``generation_id``, ``width`` and
        ``height`` in pixels, ``content_type``, ``bytes``, ``sha256``, and the delivery's facts), and the errors of
        those that were not saved.
    """
    filesystem = filesystem_of(delivery.folder)
    stored: list[list[Any]] = [[] for _ in urls]

    def save(index: int, url: str) -> dict[str, Any] | Exception:
        try:
            with scratch() as file:
                found = downloader.fetch(url, file)
                return put_in_place(file, found, (url, index), delivery, filesystem, stored[index])
        except Exception as error:
            return error

    with closing(downloader), Threads(downloader) as threads:
        outcomes = threads.each(save, urls)
    for path in chain.from_iterable(stored):
        tell_lineage(path)
    records = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    return records, [outcome for outcome in outcomes if isinstance(outcome, Exception)]


def put_in_place(
    image: BinaryIO, found: Downloaded, which: tuple[str, int], delivery: Delivery, filesystem: Any, stored: list[Any]
) -> dict[str, Any]:
    """Store one image that was fetched and checked, and its sidecar; return its record.

    :param image: the file that it is in.
    :param which: its URL, and its number among those of the generation.
    :param filesystem: the folder's file system, looked up before.
    :param stored: is told the path of each file as soon as it is there.
    """
    created = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with _finished(image, found, delivery, created) as (file, whole):
        name = fill_in(
            delivery.file_name,
            generation_id=delivery.generation_id,
            index=which[1],
            ext=whole.facts.format.extension,
            digest=whole.sha256,
            key=delivery.key,
        )
        path = delivery.folder / name
        store(file, path, filesystem)
    stored.append(path)
    record = _record(path, *which, whole, delivery)
    if delivery.sidecar:
        beside = delivery.folder / f"{name}.json"
        store(BytesIO(_sidecar(record | {"saved_at": created})), beside, filesystem)
        stored.append(beside)
    return record


@contextmanager
def _finished(
    image: BinaryIO, found: Downloaded, delivery: Delivery, created: str
) -> Iterator[tuple[BinaryIO, Downloaded]]:
    """Give the image as it is to be stored: with its metadata, if that is wanted and it can hold them."""
    if not delivery.embed_metadata:
        yield image, found
        return
    with scratch() as target:
        if embed(image, target, {"generation_id": delivery.generation_id, "created": created, **delivery.facts}):
            yield target, Downloaded(found.facts, target.tell(), _digest(target))
        else:
            yield image, found


def _digest(file: BinaryIO) -> str:
    digest = sha256()
    file.seek(0)
    while piece := file.read(1024 * 1024):
        digest.update(piece)
    return digest.hexdigest()


def _sidecar(facts: Mapping[str, Any]) -> bytes:
    told = {name: value for name, value in facts.items() if name != "url"}
    return json.dumps(told, ensure_ascii=False, indent=1).encode()


def _record(path: Any, url: str, index: int, found: Downloaded, delivery: Delivery) -> dict[str, Any]:
    return {
        "path": str(path),
        "url": url,
        "index": index,
        "generation_id": delivery.generation_id,
        "width": found.facts.width,
        "height": found.facts.height,
        "content_type": found.facts.format.content_type,
        "bytes": found.bytes,
        "sha256": found.sha256,
        **delivery.facts,
    }
