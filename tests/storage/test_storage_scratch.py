"""The scratch file does what a file does, in memory and on the disk."""

from __future__ import annotations

import io
import tempfile
from typing import Any

import pytest

from airflow_provider_qwenimage.saving import scratch as module
from airflow_provider_qwenimage.saving.scratch import copy_whole, scratch


@pytest.fixture(params=[1_000_000, 10, 0], ids=["in-memory", "moves", "on-disk"])
def file(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module, "LONGEST_IN_MEMORY", request.param)
    with scratch() as made:
        yield made


def test_what_is_written_is_read(file: Any) -> None:
    """Piece by piece, from any place."""
    for piece in (b"01234567", b"89abc", b"def"):
        assert file.write(piece) == len(piece)
    file.flush()
    assert file.tell() == 16
    assert file.seek(3) == 3
    assert file.read(4) == b"3456"
    assert file.seek(-2, io.SEEK_END) == 14
    assert file.read() == b"ef"
    assert file.read() == b""
    copy_whole(file, copy := io.BytesIO())
    assert copy.getvalue() == b"0123456789abcdef"


def test_a_new_attempt_starts_anew(file: Any) -> None:
    """Nothing is left of what was there, longer or shorter."""
    for content in (b"", b"first " * 10, b"second", b"third" * 20):
        file.seek(0)
        file.truncate()
        file.write(content)
        copy_whole(file, copy := io.BytesIO())
        assert copy.getvalue() == content


def test_it_is_written_on_after_reading(file: Any) -> None:
    """Where it stands."""
    file.write(b"abcdef")
    file.seek(0)
    assert file.read(3) == b"abc"
    file.write(b"X")
    file.truncate()
    copy_whole(file, copy := io.BytesIO())
    assert copy.getvalue() == b"abcX"


def test_only_what_is_short_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file on the disk for what is long, however often it is written to, and it goes with the scratch file."""
    made: list[Any] = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **given: made.append(make(**given)) or made[-1])
    with scratch() as short:
        short.write(bytes(module.LONGEST_IN_MEMORY))
        assert short.seek(0, io.SEEK_END) == module.LONGEST_IN_MEMORY
    assert made == []
    with scratch() as long:
        for _ in range(3):
            long.write(bytes(module.LONGEST_IN_MEMORY))
        assert long.seek(0, io.SEEK_END) == 3 * module.LONGEST_IN_MEMORY
    assert [file.closed for file in made] == [True]
