"""What is asked for, what the ledger says, and what has come of it: in a temporary SQLite file on the worker.

It keeps the memory constant, however many items there are. It is nobody's record: the ledger is, and each try of the
task makes the index anew.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from airflow_provider_qwenimage.api.errors import QwenImageError
from airflow_provider_qwenimage.batch.items import Item, name_of
from airflow_provider_qwenimage.batch.words import SUBMITTED, Word
from airflow_provider_qwenimage.exceptions import FINAL

BUY, WAIT = "buy", "wait"
PAGE = 200
TOGETHER = 200  # changes that are written to the file together: one by one would double what they cost

_TABLES = """
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE items (
    position INTEGER PRIMARY KEY, place TEXT, key TEXT UNIQUE, name TEXT UNIQUE,
    request TEXT, image TEXT, num_outputs INTEGER, fingerprint TEXT, leader INTEGER,
    todo TEXT, outcome TEXT, reason TEXT, error TEXT, final INTEGER
);
CREATE TABLE words (
    key TEXT PRIMARY KEY, word TEXT, state TEXT, marker INTEGER, purchases INTEGER, at REAL
);
"""
_OF_RUN = "(? IS NULL OR marker = ?)"  # twice the same
_ITEM = "position, key, name, request, image, fingerprint, todo"


@dataclass(frozen=True)
class Entry:
    """An item in the index.

    :param position: its place among the items, from 0.
    :param name: its key as a part of a file name.
    :param todo: ``buy``, ``wait`` (it is bought) or None.
    """

    position: int
    name: str
    item: Item
    todo: str | None = None


@dataclass(frozen=True)
class Verdict:
    """How an item ended.

    :param outcome: ``saved``, ``missing_images``, ``failed``, ``rejected``, ``unknown``, ``timeout``, ``not_saved`` or
        ``not_submitted``.
    :param reason: name of the error's class; empty if all went well.
    :param error: what went wrong, in words.
    :param final: whether a new try would end the same.
    """

    outcome: str
    reason: str = ""
    error: str = ""
    final: bool = False

    @classmethod
    def of(cls, outcome: str, error: Exception, *, final: bool | None = None) -> Verdict:
        """Return how an item ended that ended in an error; None judges by its class whether it is final."""
        return cls(outcome, type(error).__name__, in_words(error), isinstance(error, FINAL) if final is None else final)


def in_words(error: Exception) -> str:
    """Return what happened and whether it cost money; the advice that errors give is about a task with one request."""
    words = str(error)
    if isinstance(error, QwenImageError) and error.advice:
        words = words.removesuffix(error.advice).rstrip()
    return words or type(error).__name__


class Index:
    """One batch; use it in one thread at a time."""

    def __enter__(self) -> Index:
        # A file without a name, in the folder for temporary ones: nothing stays behind, however the process ends.
        self._db = sqlite3.connect("", check_same_thread=False)
        self._db.executescript(_TABLES)
        self._changes = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    # What is asked for

    def add(self, position: int, place: str, item: Item) -> str | None:
        """Take up an item; return what is wrong with its key, if anything is."""
        name, request = name_of(item.key), json.dumps(dict(item.request))
        row = (position, place, item.key, name, request, item.image, item.request["num_outputs"], item.fingerprint)
        try:
            self._change(
                "INSERT INTO items (position, place, key, name, request, image, num_outputs, fingerprint) "
                "VALUES (?,?,?,?,?,?,?,?)",
                row,
            )
        except sqlite3.IntegrityError:
            found = self._db.execute("SELECT place FROM items WHERE key = ? OR name = ?", (item.key, name)).fetchone()
            return f"has the key {item.key!r} of {found[0]}"
        return None

    def share_equal(self) -> int:
        """Let items with equal requests share the first one's purchase; return how many lean on another."""
        self._db.execute("CREATE INDEX by_fingerprint ON items (fingerprint, position)")
        self._db.execute(
            "UPDATE items SET leader = (SELECT MIN(position) FROM items o WHERE o.fingerprint = items.fingerprint)"
        )
        self._db.execute("UPDATE items SET leader = NULL WHERE leader = position")
        return self._number("SELECT COUNT(*) FROM items WHERE leader IS NOT NULL")

    def asked(self) -> int:
        """Return how many items there are."""
        return self._number("SELECT COUNT(*) FROM items")

    def most_images(self) -> int:
        """Return the largest number of images that one item asks for; 1 if there are no items."""
        return self._number("SELECT COALESCE(MAX(num_outputs), 1) FROM items")

    def images_to_upload(self) -> Iterator[str]:
        """Return the paths of all input images that are files."""
        return (path for (path,) in self._db.execute("SELECT DISTINCT image FROM items WHERE image IS NOT NULL"))

    # What is to be done

    def plan(self, entry: Entry, todo: str | None) -> None:
        """Note what is to be done for an item."""
        self._change("UPDATE items SET todo = ? WHERE position = ?", (todo, entry.position))

    def to_do(self, *todo: str) -> Iterator[Entry]:
        """Return the items for which this is to be done, in order, each once."""
        for what in todo:
            yield from self._entries("todo = ?", what)

    def leaders(self) -> Iterator[Entry]:
        """Return the items that stand for themselves, in order."""
        return self._entries("leader IS NULL")

    def number_to_do(self, todo: str) -> int:
        """Return for how many items this is to be done."""
        return self._number("SELECT COUNT(*) FROM items WHERE todo = ?", todo)

    def _entries(self, condition: str, *values: Any) -> Iterator[Entry]:
        last = -1  # page by page: the table changes meanwhile
        query = f"SELECT {_ITEM} FROM items WHERE {condition} AND position > ? ORDER BY position LIMIT {PAGE}"  # noqa: S608
        while page := self._db.execute(query, (*values, last)).fetchall():
            for position, key, name, request, image, fingerprint, todo in page:
                yield Entry(position, name, Item(key, json.loads(request), image, fingerprint), todo)
            last = page[-1][0]

    # What the ledger says

    def put(self, word: Word, line: str) -> None:
        """Take up the newest word about a key.

        :param line: the same as JSON.
        """
        row = (word.key, line, word.state, word.marker, word.purchases, word.at)
        self._change("REPLACE INTO words VALUES (?,?,?,?,?,?)", row)

    def word(self, key: str) -> Word | None:
        """Return the last word about a key."""
        found = self._db.execute("SELECT word FROM words WHERE key = ?", (key,)).fetchone()
        return Word.read(found[0]) if found else None

    def bought(self, marker: int | None) -> int:
        """Return how many generations were bought, in all tries of a run of the task; None means in all its runs."""
        return self._number(f"SELECT COALESCE(SUM(purchases), 0) FROM words WHERE {_OF_RUN}", marker, marker)  # noqa: S608

    def in_flight(self, marker: int | None) -> list[Word]:
        """Return what was bought in a run of the task and has not ended; None means in all its runs."""
        query = f"SELECT word FROM words WHERE state = ? AND {_OF_RUN}"  # noqa: S608
        return [Word.read(line) for (line,) in self._db.execute(query, (SUBMITTED, marker, marker))]

    def waiting(self) -> Iterator[Word]:
        """Return what was bought for the items that are to be waited for."""
        query = "SELECT w.word FROM items i JOIN words w ON w.key = i.key WHERE i.todo = ? ORDER BY i.position"
        return (Word.read(line) for (line,) in self._db.execute(query, (WAIT,)))

    def forget_words(self) -> int:
        """Drop what the ledger said until now; return about how many items it was."""
        number = self._number("SELECT COUNT(*) FROM words WHERE key != ''")
        self._change("DELETE FROM words", ())
        return number

    # What has come of it

    def settle(self, entry: Entry, verdict: Verdict) -> None:
        """Note how an item ended."""
        self._change(
            "UPDATE items SET todo = NULL, outcome = ?, reason = ?, error = ?, final = ? WHERE position = ?",
            (verdict.outcome, verdict.reason, verdict.error, verdict.final, entry.position),
        )

    def outcomes(self) -> dict[str, int]:
        """Return how many items ended how; those that did not end are left out."""
        query = f"SELECT o.outcome, COUNT(*) FROM {_WITH_LEADERS} WHERE o.outcome IS NOT NULL GROUP BY 1"  # noqa: S608
        return dict(self._db.execute(query).fetchall())

    def failures(self, good: tuple[str, ...], limit: int) -> list[tuple[str, Verdict]]:
        """Return the first items that did not end well, by key."""
        marks = ",".join("?" * len(good))
        query = (
            f"SELECT i.key, o.outcome, o.reason, o.error, o.final FROM {_WITH_LEADERS} "  # noqa: S608
            f"WHERE o.outcome NOT IN ({marks}) ORDER BY i.position LIMIT ?"
        )
        return [(key, Verdict(*rest)) for key, *rest in self._db.execute(query, (*good, limit))]

    def all_final(self, good: tuple[str, ...], but_for: Collection[str] = ()) -> bool:
        """Tell whether no item that did not end well could be mended by a new try.

        :param but_for: reasons that count as no final ones.
        """
        marks, reasons = (",".join("?" * len(names)) for names in (good, but_for))
        query = (
            f"SELECT COUNT(*) FROM items WHERE leader IS NULL AND outcome NOT IN ({marks}) "  # noqa: S608
            f"AND (NOT final OR reason IN ({reasons}))"
        )
        return not self._number(query, *good, *but_for)

    def results(self, marker: int | None) -> Iterator[dict[str, Any]]:
        """Return a dict per item, in the order of the input: the lines of the manifest.

        :param marker: of the run whose words count; None for all runs.
        """
        for key, request, image, outcome, error, fingerprint, line in self._db.execute(_RESULTS, (marker, marker)):
            word = Word.read(line) if line else None
            word = word if word and word.fingerprint == fingerprint else None
            yield {
                "key": key,
                "request": json.loads(request) | ({"image": image} if image else {}),
                "generation_id": word.generation_id if word else None,
                "images": (word.images if word else None) or [],
                "outcome": outcome,
                "error": error or None,
            }

    def transaction(self) -> sqlite3.Connection:
        """Return a context manager that ends in the file."""
        return self._db

    def _change(self, statement: str, values: tuple[Any, ...]) -> None:
        self._db.execute(statement, values)
        self._changes += 1
        if self._changes % TOGETHER == 0:
            self._db.commit()

    def _number(self, query: str, *values: Any) -> int:
        return int(self._db.execute(query, values).fetchone()[0])


_WITH_LEADERS = "items i JOIN items o ON o.position = COALESCE(i.leader, i.position)"
_RESULTS = f"""
SELECT i.key, i.request, i.image, o.outcome, o.error, o.fingerprint, w.word
FROM {_WITH_LEADERS} LEFT JOIN words w ON w.key = o.key AND {_OF_RUN}
ORDER BY i.position
"""  # noqa: S608
