"""docs/reliability.md: every claim about money names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent
PAGE = FOLDER.parent / "docs" / "reliability.md"
TESTS = {
    name
    for file in FOLDER.rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
}

if not PAGE.exists():
    pytest.skip("the docs are not here: these tests run beside a wheel", allow_module_level=True)

SECTION = PAGE.read_text().partition("## What happens to my money when…")[2].partition("\n## ")[0]
ROWS = [line for line in SECTION.splitlines() if line.startswith("|")][2:]


def test_there_is_a_table():
    """The table is found, and is not short."""
    assert len(ROWS) >= 30


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:50])
def test_every_row_names_a_test_that_exists(row: str):
    """A row without a test behind it is a promise without a proof."""
    *_, test, _ = row.split("|")
    named = re.findall(r"`(test_\w+)`", test)
    assert named
    assert set(named) <= TESTS


def test_every_test_named_anywhere_on_the_page_exists():
    """The same for the rest of the page."""
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))
    assert named <= TESTS
