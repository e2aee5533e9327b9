"""Reads the pages: what stands in which fence, table and link."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"

if not (DOCS / "index.md").exists():
    pytest.skip("the pages are not here: these tests run beside a wheel", allow_module_level=True)

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(
    r"(?:^<!-- from (?P<source>\S+) -->\n)?^```(?P<kind>\S*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    :param page: where it stands, below the repository.
    :param source: the file that it is an excerpt of, if it is one.
    """

    page: str
    kind: str
    text: str
    source: str | None


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks() -> list[Block]:
    """All fenced blocks of all pages."""
    return [
        Block(name_of(page), found["kind"], found["text"], found["source"])
        for page in PAGES
        for found in FENCE.finditer(text_of(page))
    ]


def prose_of(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a text, each a list of rows, each a list of cells; without the head."""
    found = re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE)
    return [[_cells(line) for line in table.splitlines()[2:]] for table in found]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
