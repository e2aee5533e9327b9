"""Stores a file in one step, so that nobody ever sees half of it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from io import BytesIO
from typing import Any, BinaryIO, cast
from uuid import uuid4

from airflow_provider_qwenimage._compat import report_output
from airflow_provider_qwenimage.outlets import LOCAL, uri_of_file
from airflow_provider_qwenimage.saving.scratch import copy_whole


def filesystem_of(path: Any) -> Any:
    """Return the file system of an ``ObjectStoragePath``; None for this machine's, which needs none.

    Airflow loads the file systems of all installed providers to find one, and may look a connection up: call it once,
    and not from a thread.
    """
    return None if path.protocol in LOCAL else path.fs


def store(file: BinaryIO, path: Any, filesystem: Any) -> None:
    """Put what stands in ``file`` at ``path``.

    A rename on a disk; on an object store one upload, which a failure aborts (a file that is opened for writing there
    would be closed, and so committed, half written).

    :param file: open for reading in binary, seekable.
    :param path: an ``ObjectStoragePath``.
    :param filesystem: its file system, see ``filesystem_of``.
    """
    if path.protocol in LOCAL:
        _rename_into(file, path.path)
    else:
        _upload(file, path.path, filesystem)


def tell_lineage(path: Any) -> None:
    """Tell Airflow's lineage of a stored file. Not from several threads at once: it may lose one."""
    report_output(path, uri_of_file(path))


def read_bytes(path: Any, filesystem: Any) -> bytes:
    """Return what stands at ``path``; lineage is not told.

    :param filesystem: its file system, see ``filesystem_of``.
    :raises FileNotFoundError: there is nothing.
    """
    if path.protocol in LOCAL:
        with open(path.path, "rb") as file:
            return file.read()
    content: bytes = filesystem.cat_file(path.path)
    return content


def store_bytes(data: bytes, path: Any) -> None:
    """Put some bytes at ``path`` in one step; lineage is not told."""
    store(BytesIO(data), path, filesystem_of(path))


def prove_writable(folder: Any, name: str) -> None:
    """Write a file into ``folder``, which need not be there yet, and leave nothing.

    :param name: of the file on an object store; on a disk it has none.
    :raises Exception: whatever the storage says.
    """
    if folder.protocol in LOCAL:
        os.makedirs(folder.path, exist_ok=True)
        tempfile.TemporaryFile(dir=folder.path).close()
        return
    store_bytes(b"airflow-provider-qwenimage tries whether images can be saved here.", folder / name)
    with suppress(Exception):  # some places may only be written to
        (folder / name).unlink()


def _upload(file: BinaryIO, target: str, filesystem: Any) -> None:
    """Upload a file of the target's extension: object stores take the content type from that."""
    with tempfile.NamedTemporaryFile(prefix="qwenimage-", suffix=os.path.splitext(target)[1]) as named:
        copy_whole(file, cast(BinaryIO, named))
        named.flush()
        filesystem.put_file(named.name, target)


def _rename_into(file: BinaryIO, target: str) -> None:
    """Write next to the target and rename there."""
    beside = os.path.join(os.path.dirname(target), f".{uuid4().hex}.part")
    try:
        with _created(beside) as copy:
            copy_whole(file, copy)
            copy.flush()
            os.fsync(copy.fileno())  # or a power cut could leave an empty file under the final name
        os.replace(beside, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _created(name: str) -> BinaryIO:
    """Open a new file, in a folder that may not be there yet."""
    try:
        return open(name, "xb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(name), exist_ok=True)
        return open(name, "xb")
