"""Stores a local file in one step, so that nobody ever sees half of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from typing import Any
from uuid import uuid4

from airflow_provider_qwenimage._compat import report_output
from airflow_provider_qwenimage.outlets import LOCAL, uri_of_file


def filesystem_of(path: Any) -> Any:
    """Return the file system of an ``ObjectStoragePath``; None for this machine's, which needs none.

    Airflow loads the file systems of all installed providers to find one, and may look a connection up: call it once,
    and not from a thread.
    """
    return None if path.protocol in LOCAL else path.fs


def store(local: str, path: Any, filesystem: Any) -> None:
    """Put the file ``local`` at ``path``.

    A rename on a disk; on an object store one upload, which a failure aborts (a file that is opened for writing there
    would be closed, and so committed, half written).

    :param path: an ``ObjectStoragePath``.
    :param filesystem: its file system, see ``filesystem_of``.
    """
    if path.protocol in LOCAL:
        _rename_into(local, path.path)
    else:
        filesystem.put_file(local, path.path)


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
    with tempfile.NamedTemporaryFile(prefix="qwenimage-") as file:
        file.write(data)
        file.flush()
        if path.protocol in LOCAL:
            _rename_into(file.name, path.path)
        else:
            path.fs.put_file(file.name, path.path)


def _rename_into(local: str, target: str) -> None:
    """Copy next to the target and rename there: the scratch folder may be on another disk."""
    folder = os.path.dirname(target)
    os.makedirs(folder, exist_ok=True)
    beside = os.path.join(folder, f".{uuid4().hex}.part")
    try:
        with open(local, "rb") as source, open(beside, "xb") as copy:
            shutil.copyfileobj(source, copy, 1024 * 1024)
            copy.flush()
            os.fsync(copy.fileno())  # or a power cut could leave an empty file under the final name
        os.replace(beside, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise
