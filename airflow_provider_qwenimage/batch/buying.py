"""Buys the generation of one item, at most once however the process ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient
from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InvalidSettingsError,
    QwenImageError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from airflow_provider_qwenimage.api.models import GenerationRequest, Submission
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.batch.gate import Gate, GateClosedError
from airflow_provider_qwenimage.batch.index import Entry, Verdict, in_words
from airflow_provider_qwenimage.batch.ledger import Ledger
from airflow_provider_qwenimage.batch.words import FREE, INTENDED, REJECTED, SUBMITTED, UNKNOWN, Word

LAST_WORDS = 3.0  # seconds that submissions in flight have to get their answer when everything is stopped
STOP_ALL = (AuthenticationError, InsufficientCreditsError, InvalidSettingsError)


@dataclass(frozen=True)
class Buyer:
    """Submits, one item at a call; all calls share the gate.

    :param client: makes one attempt a call.
    :param session: keeps no connections.
    :param upload: makes a public URL of an input image that is a file.
    :param resubmit: whether a new try of the task would submit again what is unknown.
    :param latest: when submitting has to end, epoch seconds.
    """

    client: AsyncQwenImageClient
    session: aiohttp.ClientSession
    ledger: Ledger
    gate: Gate
    upload: Callable[[str], Awaitable[str]]
    resubmit: bool
    latest: float
    log: Any
    in_flight: set[asyncio.Task[Word | Verdict | None]] = field(default_factory=set)

    async def buy(self, entry: Entry, *, instead_of: Word | None = None) -> Word | Verdict:
        """Buy, or say why not. What was bought is in the ledger when this returns.

        :param instead_of: what was bought before and is not known to the service now. It stays in the ledger for as
            long as nothing new is bought: it may be known again, if it was the connection that was wrong.
        """
        try:
            request = await self._request(entry)
        except Exception as error:
            return Verdict.of("not_submitted", error)
        while True:
            try:
                await self.gate.enter()
            except GateClosedError as closed:
                return Verdict.of("not_submitted", closed.why)
            # Shielded: where the task is stopped, a submission in flight may still get its answer.
            attempt = asyncio.create_task(self._attempt(entry, request, instead_of))
            self.in_flight.add(attempt)
            attempt.add_done_callback(self._landed)
            found = await asyncio.shield(attempt)
            if found is not None:
                return found

    async def last_words(self) -> None:
        """Give submissions in flight a moment to get their answer."""
        if self.in_flight:
            _, pending = await asyncio.wait(self.in_flight, timeout=LAST_WORDS)
            for attempt in pending:
                attempt.cancel()

    def _landed(self, attempt: asyncio.Task[Word | Verdict | None]) -> None:
        self.in_flight.discard(attempt)
        self.gate.leave()

    async def _request(self, entry: Entry) -> GenerationRequest:
        item = entry.item
        fields = dict(item.request)
        if item.image:
            fields["image_urls"] = [await self.upload(item.image)]
        return GenerationRequest(**fields)

    async def _attempt(
        self, entry: Entry, request: GenerationRequest, instead_of: Word | None
    ) -> Word | Verdict | None:
        """Submit once; None if it was refused and may be submitted again."""
        before = self.ledger.purchases_of(entry.item.key)
        try:
            self._check_time()
            await self.ledger.check_owner()
            await self.ledger.append(self._word(entry, INTENDED, before))
        except Exception as error:  # nothing is bought that can't be noted
            self.gate.close(error)
            return Verdict.of("not_submitted", error)
        try:
            await self.ledger.check_owner()  # writing may have taken so long that another try has read without it
        except Exception as error:
            await self._note(instead_of or self._word(entry, FREE, before))
            self.gate.close(error)
            return Verdict.of("not_submitted", error)
        try:
            submission = await self.client.create_task(self.session, request)
        except QwenImageError as error:
            return await self._refused(entry, before, error, instead_of)
        except Exception as error:
            lost = UnknownOutcomeError(f"The create broke off: {type(error).__name__}.")
            self.log.exception("Submitting item %s broke off", printable(entry.item.key))
            return await self._refused(entry, before, lost, instead_of)
        self.gate.accepted()
        return await self._bought(entry, before, submission)

    async def _bought(self, entry: Entry, purchases: int, submission: Submission) -> Word:
        word = self._word(
            entry,
            SUBMITTED,
            purchases + 1,
            generation_id=submission.generation_id,
            submitted_at=time.time(),
            estimated_time=submission.estimated_time,
        )
        await self._note(word)
        metrics.count("submitted")
        return word

    async def _refused(
        self, entry: Entry, purchases: int, error: QwenImageError, instead_of: Word | None
    ) -> Verdict | None:
        name, words = type(error).__name__, in_words(error)
        nothing_new = instead_of or self._word(entry, FREE, purchases)
        if isinstance(error, TransientError):
            await self._note(nothing_new)
            self.gate.refused(error)
            return None
        if isinstance(error, STOP_ALL):
            await self._note(nothing_new)
            self.gate.close(error)
            return Verdict.of("not_submitted", error)
        if isinstance(error, UnknownOutcomeError):
            await self._note(self._word(entry, UNKNOWN, purchases, reason=name, error=words))
            self.gate.lost(error)
            return Verdict.of("unknown", error, final=not self.resubmit)
        await self._note(self._word(entry, REJECTED, purchases, reason=name, error=words, final=True))
        if isinstance(error, RejectedError):
            self.gate.rejected(error)
        return Verdict.of("rejected", error, final=True)

    async def _note(self, word: Word) -> None:
        try:
            await self.ledger.append(word)
        except Exception as error:
            # It is bought, or known not to be, and known here: failing now would lose it. But buy nothing more.
            told = printable(word.generation_id or word.state), printable(word.key)
            self.log.exception("Generation %s of item %s could not be noted for a retry", *told)
            self.gate.close(error)

    def _word(self, entry: Entry, state: str, purchases: int, **facts: Any) -> Word:
        item = entry.item
        return self.ledger.word(item.key, state, fingerprint=item.fingerprint, purchases=purchases, **facts)

    def _check_time(self) -> None:
        if time.time() >= self.latest:
            raise TimeoutError("execution_timeout is over: nothing more was submitted.")
