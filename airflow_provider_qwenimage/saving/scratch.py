"""Where an image lies while it is fetched and checked: in memory while it is short, else on this machine's disk."""

from __future__ import annotations

import shutil
import tempfile
from typing import BinaryIO, cast

LONGEST_IN_MEMORY = 2 * 1024 * 1024  # bytes; most images are shorter, and making a file costs more than checking one
PIECE = 1024 * 1024


def scratch() -> BinaryIO:
    """Return an empty file without a name, open for reading and writing; it is gone when it is closed."""
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(LONGEST_IN_MEMORY, prefix="qwenimage-"))


def copy_whole(source: BinaryIO, target: BinaryIO) -> None:
    """Copy a file from its start to where the other one stands."""
    source.seek(0)
    shutil.copyfileobj(source, target, PIECE)
