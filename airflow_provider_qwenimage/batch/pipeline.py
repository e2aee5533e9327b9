"""Submits, waits and saves, many items at a time. Everything that costs money is in the ledger before it happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage.api.errors import (
    GenerationFailedError,
    GenerationTimeoutError,
    InvalidSettingsError,
    NotFoundError,
    QwenImageError,
    RejectedError,
)
from airflow_provider_qwenimage.api.models import Generation
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.api.waiting import Plan, about
from airflow_provider_qwenimage.async_wait import Poller
from airflow_provider_qwenimage.batch.buying import Buyer
from airflow_provider_qwenimage.batch.index import BUY, WAIT, Entry, Index, Verdict, in_words
from airflow_provider_qwenimage.batch.ledger import Ledger
from airflow_provider_qwenimage.batch.progress import Progress
from airflow_provider_qwenimage.batch.resuming import Rules, facts_of, saved
from airflow_provider_qwenimage.batch.saving import Saver
from airflow_provider_qwenimage.batch.words import FAILED, SAVED, SUBMITTED, Word
from airflow_provider_qwenimage.exceptions import FINAL

Act = Callable[[Entry], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """Bounds of a batch.

    :param max_active: how many generations may be bought and not yet saved.
    :param timeout: seconds that each may take, from its submission.
    :param latest: when this try has to end, epoch seconds.
    :param poll_interval: fixed seconds between polls of one generation; None for intervals that follow the estimate.
    """

    max_active: int
    timeout: float
    latest: float
    poll_interval: float | None = None

    def plan(self, word: Word) -> Plan:
        """Return the wait for what a word says was submitted."""
        submitted = word.submitted_at or word.at
        deadline = min(submitted + self.timeout, self.latest)
        return Plan(str(word.generation_id), submitted, deadline, word.estimated_time, self.poll_interval)


@dataclass(frozen=True)
class Pipeline:
    """One batch on its way. Its methods run in one event loop."""

    index: Index
    ledger: Ledger
    buyer: Buyer
    poller: Poller
    saver: Saver
    limits: Limits
    rules: Rules
    progress: Progress
    log: Any

    async def run(self) -> None:
        """Bring every item to its end: what is bought already first."""
        await self._each(self.index.to_do(WAIT, BUY), self._through, self.limits.max_active)

    async def finish(self) -> None:
        """Wait for what is bought, and save it; buy nothing but what the service has forgotten."""
        await self._each(self.index.to_do(WAIT), self._through, self.limits.max_active)

    async def fill(self) -> None:
        """Submit until ``max_active`` generations are bought and not saved."""
        while room := self.limits.max_active - self.index.number_to_do(WAIT):
            batch = [entry for entry, _ in zip(self.index.to_do(BUY), range(room), strict=False)]
            if not batch:
                return
            await self._each(batch, self._submit, room)

    async def _each(self, entries: Iterable[Entry], act: Act, at_once: int) -> None:
        """Do this for all entries; none stops the others."""
        left = iter(entries)
        workers = [asyncio.create_task(self._work(left, act)) for _ in range(at_once)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self, left: Iterator[Entry], act: Act) -> None:
        for entry in left:
            await self._one(entry, act)

    async def _one(self, entry: Entry, act: Act) -> None:
        try:
            await act(entry)
        except Exception as error:  # whatever it is, the others go on
            self.log.exception("Item %s broke off", printable(entry.item.key))
            held = self.index.word(entry.item.key)
            if held and held.state == SUBMITTED and self.ledger.counts(held, entry.item.fingerprint):
                self._settle(entry, _not_saved(held, error))
            else:
                self._settle(entry, Verdict.of("not_submitted", error))

    async def _submit(self, entry: Entry) -> None:
        found = await self.buyer.buy(entry)
        if isinstance(found, Verdict):
            self._settle(entry, found)
        else:
            self.index.plan(entry, WAIT)

    async def _through(self, entry: Entry) -> None:
        held = self.index.word(entry.item.key) if entry.todo == WAIT else None
        if held and not self.ledger.is_of_this_try(held):
            metrics.count("reattached")
            found = await self.poller.wait(self.limits.plan(held))
            if not isinstance(found, NotFoundError):
                await self._receive(entry, held, found)
                return
            told = printable(str(held.generation_id)), printable(entry.item.key)
            self.log.warning("Generation %s of %s is not known to the service any more: submitting a new one", *told)
            bought = await self.buyer.buy(entry, instead_of=held)
        else:
            bought = held or await self.buyer.buy(entry)
        if isinstance(bought, Verdict):
            self._settle(entry, bought)
        else:
            await self._receive(entry, bought, await self.poller.wait(self.limits.plan(bought)))

    async def _receive(self, entry: Entry, held: Word, found: Generation | QwenImageError) -> None:
        if isinstance(found, Generation):
            await self._save(entry, held, found)
        elif isinstance(found, GenerationTimeoutError):
            self._settle(entry, Verdict.of("timeout", found))
        elif isinstance(found, (GenerationFailedError, NotFoundError)):
            over = replace(held, state=FAILED, at=time.time(), **_told(found))
            await self._note(over)
            self._settle(entry, Verdict.of("failed", found, final=bool(over.final)))
        else:
            self._settle(entry, _not_saved(held, found))

    async def _save(self, entry: Entry, held: Word, generation: Generation) -> None:
        seconds = round(time.time() - (held.submitted_at or held.at), 1)
        metrics.timing("generation_seconds", seconds)
        facts = {**facts_of(entry), "seconds": seconds, "generation_id": generation.generation_id}
        records, errors = await self.saver.save(entry.name, generation.generation_id, generation.result_urls, facts)
        metrics.count("bytes_saved", sum(record["bytes"] for record in records))
        state = SUBMITTED if errors else SAVED
        await self._note(replace(held, state=state, at=time.time(), images=records, seconds=seconds))
        if errors:
            self._settle(entry, _not_saved(held, errors[0]))
        else:
            self._settle(entry, saved(entry, len(records)))

    async def _note(self, word: Word) -> None:
        """Write down what has become of a purchase; failing over that would lose it."""
        try:
            await self.ledger.append(replace(word, by=self.ledger.writer))
        except Exception:
            self.log.exception("What became of %s could not be noted for a retry", printable(word.key))

    def _settle(self, entry: Entry, verdict: Verdict) -> None:
        self.index.settle(entry, verdict)
        self.progress.ended(entry, verdict)
        metrics.count("succeeded" if verdict.outcome in self.rules.good else "failed")


def _not_saved(held: Word, error: Exception) -> Verdict:
    """Return how an item ended that is bought. A retry of it costs nothing, and reads the connection anew: a key that
    is refused now may have been replaced by then."""
    if isinstance(error, (RejectedError, InvalidSettingsError)):
        return Verdict.of("not_saved", about(error, str(held.generation_id)), final=False)
    return Verdict.of("not_saved", error)


def _told(error: QwenImageError) -> dict[str, Any]:
    final = isinstance(error, FINAL) and not isinstance(error, NotFoundError)  # a new try buys a new one
    return {"reason": type(error).__name__, "error": in_words(error), "final": final}


async def told_until_done(progress: Progress, work: Awaitable[None]) -> None:
    """Await the work, and log how far it is meanwhile."""
    telling = asyncio.create_task(progress.tell())
    try:
        await work
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling
