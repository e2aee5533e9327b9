"""Where a ledger's lines lie: files in one folder, read in the order of their names.

On a disk each writer appends to a file of its own. Object stores can't append: each flush is a small object there, and
many of them are merged into one. A merged segment comes after its parts and says the same, so that a crash
between writing it and removing them does no harm.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, Protocol

from airflow_provider_qwenimage.outlets import LOCAL

PIECE = 1024 * 1024
MERGE_AT = 200  # small segments
_SMALL, _MERGED = "0", "1"


class Segments(Protocol):
    """The lines of one ledger."""

    def lines(self) -> Iterator[bytes]:
        """Return all whole lines, oldest first."""

    def write(self, lines: bytes) -> None:
        """Add lines; they are durable when this returns."""

    def close(self) -> None:
        """Let go of what is open."""


def segments_in(folder: Any, filesystem: Any, writer: str, is_owner: Callable[[], bool]) -> Segments:
    """Return the segments of a ledger.

    :param folder: an ``ObjectStoragePath``.
    :param filesystem: its file system, looked up before.
    :param writer: a name that no other writer has.
    :param is_owner: asks the store whether no other writer has taken over.
    """
    if folder.protocol in LOCAL:
        return FileSegments(folder.path, writer)
    return ObjectSegments(folder.path, filesystem, writer, is_owner)


class FileSegments:
    """On a disk."""

    def __init__(self, folder: str, writer: str) -> None:
        self._folder = folder
        self._writer = writer
        self._file: BinaryIO | None = None

    def lines(self) -> Iterator[bytes]:
        """Return all whole lines, oldest first."""
        for name in self._names():
            with open(os.path.join(self._folder, name), "rb") as file:
                yield from whole_lines(file)

    def write(self, lines: bytes) -> None:
        """Add lines, and wait until the disk has them."""
        try:
            file = self._file or self._open()
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            self.close()  # half a line may stand there now: the next one must not be glued to it
            raise

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file:
            with suppress(OSError):
                file.close()

    def _open(self) -> BinaryIO:
        os.makedirs(self._folder, exist_ok=True)
        name = segment_name(next_number(self._names()), _SMALL, self._writer)
        self._file = open(os.path.join(self._folder, name), "xb")  # noqa: SIM115
        _sync_folder(self._folder)
        return self._file

    def _names(self) -> list[str]:
        try:
            return sorted(filter(is_segment, os.listdir(self._folder)))
        except FileNotFoundError:
            return []


class ObjectSegments:
    """On an object store."""

    def __init__(self, folder: str, filesystem: Any, writer: str, is_owner: Callable[[], bool]) -> None:
        self._folder = folder.rstrip("/")
        self._fs = filesystem
        self._writer = writer
        self._is_owner = is_owner
        self._small: list[str] = []
        self._next: int | None = None
        self._spool = tempfile.TemporaryFile(prefix="qwenimage-ledger-")  # noqa: SIM115 - what stands in small ones

    def lines(self) -> Iterator[bytes]:
        """Return all whole lines, oldest first."""
        names = self._names()
        self._next = next_number(names)
        self._small = []
        self._spool.seek(0)
        self._spool.truncate()
        for name in names:
            with self._fs.open(f"{self._folder}/{name}", "rb") as file:
                for line in whole_lines(file):
                    if _kind(name) == _SMALL:
                        self._spool.write(line)
                    yield line
            if _kind(name) == _SMALL:
                self._small.append(name)

    def write(self, lines: bytes) -> None:
        """Store the lines as one object."""
        if len(self._small) >= MERGE_AT:
            with suppress(Exception):  # it is housekeeping: the next write tries again
                self._merge()
        name = self._name()
        self._fs.pipe_file(f"{self._folder}/{name}", lines)
        self._small.append(name)
        self._spool.write(lines)

    def close(self) -> None:
        """Drop the spool."""
        self._spool.close()

    def _merge(self) -> None:
        """Store what the small segments say as one in the place of the newest, then remove them.

        Not where another writer has taken over: its words have come between them. One that takes over from here on
        finds all of them, so its words come after this place.
        """
        if not self._is_owner():
            return
        with tempfile.NamedTemporaryFile(prefix="qwenimage-ledger-") as file:
            self._spool.seek(0)
            while piece := self._spool.read(PIECE):
                file.write(piece)
            file.flush()
            self._fs.put_file(file.name, f"{self._folder}/{self._merged_name()}")
        self._spool.seek(0)
        self._spool.truncate()
        merged, self._small = self._small, []
        for name in merged:
            with suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._folder}/{name}")

    def _merged_name(self) -> str:
        return segment_name(_number(self._small[-1]), _MERGED, self._writer)

    def _name(self) -> str:
        if self._next is None:
            self._next = next_number(self._names())
        number, self._next = self._next, self._next + 1
        return segment_name(number, _SMALL, self._writer)

    def _names(self) -> list[str]:
        self._fs.invalidate_cache()  # some remember listings, and this one is of before
        try:
            found = self._fs.ls(self._folder, detail=False)
        except FileNotFoundError:
            return []
        return sorted(filter(is_segment, (path.rpartition("/")[2] for path in found)))


def segment_name(number: int, kind: str, writer: str) -> str:
    """Return a name; sorted, names are in the order of writing."""
    return f"segment-{number:010d}-{kind}-{writer}.jsonl"


def is_segment(name: str) -> bool:
    """Tell whether a file of the folder is a segment."""
    return name.startswith("segment-") and name.endswith(".jsonl")


def next_number(names: list[str]) -> int:
    """Return a number that comes after all of these."""
    return 1 + max(map(_number, names), default=0)


def _number(name: str) -> int:
    return int(name.split("-")[1])


def _kind(name: str) -> str:
    return name.split("-")[2]


def whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines that have an end: one without was torn by a crash, and nothing was done on its word."""
    rest = b""
    while piece := file.read(PIECE):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"


def _sync_folder(folder: str) -> None:
    """Make a new file's name durable too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
