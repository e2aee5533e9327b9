"""Where an image lies while it is fetched and checked: in memory while it is short, else on this machine's disk."""

from __future__ import annotations

import io
import shutil
import tempfile
from typing import BinaryIO, cast

LONGEST_IN_MEMORY = 2 * 1024 * 1024  # bytes; most images are shorter, and making a file costs more than checking one
PIECE = 1024 * 1024


def scratch() -> BinaryIO:
    """Return an empty file without a name, open for reading and writing; it is gone when it is closed."""
    return cast(BinaryIO, _Scratch())


def copy_whole(source: BinaryIO, target: BinaryIO) -> None:
    """Copy a file from its start to where the other one stands."""
    source.seek(0)
    shutil.copyfileobj(source, target, PIECE)


class _Scratch:
    """As much of a file as is needed here.

    What is written is kept as it came and copied by nobody: that takes a quarter of a millisecond with
    ``tempfile.SpooledTemporaryFile``, as long as the rest of a small download.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # what was written, until somebody reads or there is too much of it
        self._length = 0
        self._file: BinaryIO | None = None

    def write(self, data: bytes) -> int:
        if self._file is None and self._length + len(data) <= LONGEST_IN_MEMORY:
            self._pieces.append(data)
            self._length += len(data)
            return len(data)
        return self._on_disk().write(data)

    def read(self, size: int = -1) -> bytes:
        return self._opened().read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._opened().seek(offset, whence)

    def tell(self) -> int:
        return self._length if self._file is None else self._file.tell()

    def truncate(self) -> int:
        """Cut the file off here."""
        at = self.tell()
        if at:
            return self._opened().truncate()
        self.close()
        self._pieces, self._length = [], 0
        return 0

    def flush(self) -> None:
        if self._file:
            self._file.flush()

    def close(self) -> None:
        file, self._file = self._file, None
        if file:
            file.close()

    def __enter__(self) -> _Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = io.BytesIO(b"".join(self._pieces))
            self._file.seek(0, io.SEEK_END)
        return self._file

    def _on_disk(self) -> BinaryIO:
        """Move to the disk, if that is not done."""
        if self._file is None or isinstance(self._file, io.BytesIO):
            opened, at = self._opened(), self.tell()
            self._file = cast(BinaryIO, tempfile.TemporaryFile(prefix="qwenimage-"))  # noqa: SIM115
            copy_whole(opened, self._file)
            self._file.seek(at)
            self._pieces, self._length = [], 0
        return self._file
