"""What was bought, beside the images: every step of every item, durable before the next one is made.

While one flush is under way, further words queue: however many items there are, the store sees one write at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import uuid4

from airflow_provider_qwenimage._compat import AirflowException
from airflow_provider_qwenimage.batch.index import Index
from airflow_provider_qwenimage.batch.segments import segments_in
from airflow_provider_qwenimage.batch.words import STARTED, Word
from airflow_provider_qwenimage.durable import FOLDER
from airflow_provider_qwenimage.saving.storage import filesystem_of, read_bytes, store_bytes

OWNER = "owner.json"
LOOK_EVERY = 2.0  # seconds after which a writer makes sure that the ledger is still its own
TAKEOVER = 3.0  # seconds that a new writer waits for one that may still be alive; longer than LOOK_EVERY

log = logging.getLogger(__name__)


class LedgerLostError(AirflowException):
    """Another try of this task has taken the ledger over, or somebody has removed it: nothing more may be bought."""


@dataclass(frozen=True)
class Identity:
    """Whose ledger it is.

    :param task: dag id, run id, task id and map index.
    :param try_number: of Airflow.
    :param marker: tells the tries of one run of the task from those after a manual Clear.
    """

    task: tuple[str, ...]
    try_number: int
    marker: int

    @property
    def digest(self) -> str:
        """A name for the task instance that is fit for a file."""
        return sha256("\0".join(self.task).encode()).hexdigest()[:32]

    @property
    def is_first_try(self) -> bool:
        """Whether Airflow starts the task instance for the first time."""
        return self.try_number in (0, 1)

    @property
    def map_index(self) -> str | None:
        """Which one of several mapped tasks it is; None if it is not mapped."""
        return None if self.task[-1] in ("-1", "None") else self.task[-1]


class Ledger:
    """The ledger of one task instance. ``take_over`` it before anything else, ``close`` it at the end.

    :param output_path: an ``ObjectStoragePath``; its file system is looked up here, so not in a thread.
    :param index: learns every word.
    :param keep_on_clear: whether the words of before a manual Clear still count.
    """

    def __init__(self, output_path: Any, identity: Identity, index: Index, *, keep_on_clear: bool = False) -> None:
        self._folder = output_path / FOLDER / f"batch-{identity.digest}"
        self._filesystem = filesystem_of(output_path)
        self._identity = identity
        self._index = index
        self.marker: int | None = None if keep_on_clear else identity.marker
        self.writer = f"{identity.try_number}-{uuid4().hex[:12]}"
        self._segments = segments_in(self._folder, self._filesystem, self.writer, self._is_owner)
        self._queue: list[tuple[str, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._looked_at = 0.0
        self._looking: asyncio.Lock | None = None  # made in the loop
        self._life: str | None = None
        self.started = Word("", STARTED)

    def take_over(self, sleep: Callable[[float], None] = time.sleep, *, resumed: bool = False) -> None:
        """Become the only writer, then read what earlier ones have written.

        :param resumed: whether this try goes on after a deferral; else it starts now.
        :raises ValueError: a line can't be read: it may tell of a purchase.
        """
        before = self._owner()
        self._write_owner(closed=False)
        self._looked_at = time.monotonic()
        self._read()
        if before is not None and not before.get("closed"):
            sleep(TAKEOVER)  # it notices before its next submission, and what it has sent by then is written down
            self._read()
        if self._identity.is_first_try and not resumed and self.marker is not None:
            self._begin_life()
        self._note_start(resumed)

    def counts(self, word: Word | None, fingerprint: str) -> bool:
        """Tell whether a word is about this request in this run."""
        if word is None or word.fingerprint != fingerprint:
            return False
        return self.marker is None or word.marker == self.marker

    def purchases_of(self, key: str) -> int:
        """Return how many generations were bought for a key in this run."""
        found = self._index.word(key)
        return found.purchases if found and (self.marker is None or found.marker == self.marker) else 0

    def is_of_this_try(self, word: Word) -> bool:
        """Tell whether a word was written by this try of the task, before a deferral perhaps."""
        return word.by.partition("-")[0] == str(self._identity.try_number)

    def was_cleared_since(self, word: Word) -> bool:
        """Tell whether a user has cleared the task after a word was written."""
        return word.marker != self._identity.marker

    def word(self, key: str, state: str, **facts: Any) -> Word:
        """Return a new word, to be appended."""
        marker, now = self._identity.marker, time.time()
        return Word(key, state, marker=marker, at=now, by=self.writer, life=self._life, **facts)

    async def append(self, word: Word) -> None:
        """Write a word down; it is durable when this returns."""
        future = asyncio.get_running_loop().create_future()
        line = word.line()
        self._index.put(word, line)
        self._queue.append((line, future))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        await future

    async def check_owner(self) -> None:
        """Make sure, now and then, that no other writer has taken over.

        :raises LedgerLostError: one has, or the ledger was removed.
        """
        self._looking = self._looking or asyncio.Lock()
        async with self._looking:
            now = time.monotonic()
            if now - self._looked_at < LOOK_EVERY:
                return
            owner = await asyncio.get_running_loop().run_in_executor(None, self._owner)
            if not owner or owner.get("writer") != self.writer:
                raise LedgerLostError(
                    f"The ledger {self._folder} is not this try's any more: another try of this task goes on with it, "
                    "or it was removed. Nothing more was submitted from here."
                )
            self._looked_at = now  # before the answer, which a slow store may give late

    def close(self) -> None:
        """Leave word that this writer is done, so that the next one need not wait."""
        self._segments.close()
        if self._is_owner():
            self._write_owner(closed=True)

    async def settle(self) -> None:
        """Wait until all that was appended is durable, or failed to become so."""
        if self._flushing:
            await asyncio.wait([self._flushing])

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            lines, self._queue = self._queue, []
            data = "".join(f"{line}\n" for line, _ in lines).encode()
            try:
                await loop.run_in_executor(None, self._segments.write, data)
            except Exception as error:
                _answer(lines, error)
            else:
                _answer(lines, None)

    def _read(self) -> None:
        lives: set[str | None] = {None}
        with self._index.transaction():
            self._index.forget_words()
            self._life = None
            try:
                for line in self._segments.lines():
                    word = Word.read(line)
                    if word.life not in lives:
                        lives.add(word.life)
                        self._life = word.life
                        self._index.forget_words()
                    if word.life == self._life:  # else it came late, from a worker of an earlier life
                        self._index.put(word, line.decode())
            except ValueError as error:
                raise ValueError(
                    f"The ledger {self._folder} is damaged: {error}. It may tell of a generation that was paid for: "
                    "remove the folder to submit everything anew."
                ) from None

    def _begin_life(self) -> None:
        """Let nothing count that stands here before a first try: it is about an earlier run of the same id. Airflow
        counts a try whenever it starts a task, but for the end of a deferral."""
        number = self._index.forget_words()
        if number == 0 and self._life is None:
            return
        self._life = self.writer
        log.info(
            "The ledger %s tells of %d items of an earlier run with the same id. They do not count for this one, which "
            "has just begun; resume_on_clear=True would go on with them.",
            self._folder,
            number,
        )

    def _note_start(self, resumed: bool) -> None:
        now, found = time.time(), self._index.word("")
        same_run = found is not None and (self.marker is None or found.marker == self.marker)
        if found and same_run and (resumed or self.is_of_this_try(found)):
            self.started = found
            return
        began = found.submitted_at if found and same_run else now
        self.started = self.word("", STARTED, submitted_at=began, try_at=now)
        line = self.started.line()
        self._index.put(self.started, line)
        self._segments.write(f"{line}\n".encode())

    def _write_owner(self, *, closed: bool) -> None:
        store_bytes(json.dumps({"writer": self.writer, "closed": closed}).encode(), self._folder / OWNER)

    def _is_owner(self) -> bool:
        owner = self._owner()
        return bool(owner and owner.get("writer") == self.writer)

    def _owner(self) -> dict[str, Any] | None:
        try:
            found = json.loads(read_bytes(self._folder / OWNER, self._filesystem))
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def _answer(lines: list[tuple[str, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, future in lines:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
