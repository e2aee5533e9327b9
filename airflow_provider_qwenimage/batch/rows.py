"""Reads requests row by row from a sequence, or a JSONL or CSV file: in constant memory, and a bad row ends nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from airflow_provider_qwenimage.api.rules import short
from airflow_provider_qwenimage.batch.literals import FIELDS

LONGEST_LINE = 1024 * 1024
PIECE = 256 * 1024


@dataclass(frozen=True)
class Row:
    """One row as it was found.

    :param place: where it stands, for messages: ``line 7``.
    :param content: a prompt, or a mapping of fields; not checked yet.
    :param problem: why there is no content, if there is none.
    """

    place: str
    content: Any = None
    problem: str | None = None


def rows_of(values: Iterable[Any]) -> Iterator[Row]:
    """Return the rows of a sequence; one that is fetched lazily stays so."""
    return (Row(f"item {number}", value) for number, value in enumerate(values))


def rows_in(file: BinaryIO, name: str) -> Iterator[Row]:
    """Return the rows of a file.

    :param file: open for reading in binary.
    :param name: its name: ``.csv`` is CSV with a header row, everything else JSON lines. UTF-8 both.
    """
    lines = _Lines(file)
    return _csv_rows(lines) if name.lower().endswith(".csv") else _json_rows(lines)


class _BadLineError(ValueError):
    """A line that can't be read; those after it can."""


class _Lines:
    """The lines of a file as text. No generator: reading goes on after a bad one."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = _split(file)
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if line is None:
            raise _BadLineError(f"is longer than {LONGEST_LINE:,} bytes")
        try:
            return line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise _BadLineError("is not UTF-8") from None


def _split(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield lines with their ends; None for one that is too long, of which no more than that is kept."""
    rest, too_long = b"", False
    while piece := file.read(PIECE):
        *whole, rest = _at_newlines(rest + piece)
        for line in whole:
            yield None if too_long or len(line) > LONGEST_LINE else line
            too_long = False
        if len(rest) > LONGEST_LINE:
            rest, too_long = b"", True
    if rest or too_long:
        yield None if too_long else rest


def _at_newlines(data: bytes) -> list[bytes]:
    *whole, rest = data.split(b"\n")
    return [*(line + b"\n" for line in whole), rest]


def _json_rows(lines: _Lines) -> Iterator[Row]:
    while (text := _next(lines)) is not None:
        if isinstance(text, Row):
            yield text
        elif text.strip():
            yield _json_row(f"line {lines.number}", text)


def _next(lines: _Lines) -> str | Row | None:
    """Return the next line, why there is none, or None at the end."""
    try:
        return next(lines, None)
    except _BadLineError as error:
        return Row(f"line {lines.number}", problem=str(error))


def _json_row(place: str, text: str) -> Row:
    try:
        return Row(place, json.loads(text))
    except (ValueError, RecursionError) as error:
        return Row(place, problem=f"is not JSON ({error})")


def _csv_rows(lines: _Lines) -> Iterator[Row]:
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (_BadLineError, csv.Error) as error:
            yield Row(f"line {lines.number}", problem=str(error))
            if header is None:
                return
            continue
        if not any(cells):
            continue
        if header is None:
            header, problem = _header(cells)
            if problem:
                yield Row(f"line {lines.number}", problem=problem)
                return
        else:
            yield _csv_row(f"line {lines.number}", header, cells)


def _header(cells: list[str]) -> tuple[list[str], str | None]:
    names = [cell.strip() for cell in cells]
    if unknown := [name for name in names if name not in FIELDS]:
        return names, f"has columns that are no fields: {short(unknown)}. Fields are {', '.join(FIELDS)}"
    if len(set(names)) < len(names):
        return names, "names a column twice"
    return names, None if "prompt" in names else "has no column prompt: the first row must name the columns"


def _csv_row(place: str, header: list[str], cells: list[str]) -> Row:
    if len(cells) != len(header):
        return Row(place, problem=f"has {len(cells)} cells, and the header has {len(header)}")
    given = {name: cell for name, cell in zip(header, cells, strict=True) if cell.strip()}  # an empty one says nothing
    # Blanks around a text belong to a prompt, and to nothing else.
    return Row(place, {name: cell if name == "prompt" else cell.strip() for name, cell in given.items()})
