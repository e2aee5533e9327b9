"""
Everything an emulator remembers: accounts, generations, uploads, planned faults, counts and the request log.

No HTTP here, and no clock and no chance of its own: both are passed in.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import threading
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_qwenimage.emulator.accounts import Account, Accounts
from airflow_provider_qwenimage.emulator.bounded import BoundedBytes
from airflow_provider_qwenimage.emulator.contract import Order, Refusal
from airflow_provider_qwenimage.emulator.faults import Fault, plan_fault, strike
from airflow_provider_qwenimage.emulator.forms import Form, make_form
from airflow_provider_qwenimage.emulator.generations import Fate, Generation, Generations
from airflow_provider_qwenimage.emulator.journal import Journal
from airflow_provider_qwenimage.emulator.options import Options

CAPTION_LENGTH = 400
"""Characters of a prompt that are remembered, since no more fit onto a picture."""


class State:
    """
    The memory of one emulator; every method may be called from any thread.

    :param options: how the emulator behaves
    :param clock: tells the time in seconds since the epoch
    :param rng: source of every id and of all chance
    :param repeats: whether a reset begins its numbers anew, so that what follows is the same every time
    """

    def __init__(
        self, options: Options, *, clock: Callable[[], float], rng: random.Random, repeats: bool = False
    ) -> None:
        self.options = options
        self.now = clock
        self._rng = rng
        self._secret = rng.getrandbits(256).to_bytes(32, "big")
        self._beginning = rng.getstate() if repeats else None
        self._lock = threading.RLock()
        self.uploads = BoundedBytes(options.max_bytes)
        self.sources = BoundedBytes(options.max_bytes)
        self.images = BoundedBytes(options.max_bytes)

        self.era = 0
        """Counts the resets."""
        self.reset()

    def reset(self) -> None:
        """Forget everything that has happened and all planned faults; the first account has its credits back."""
        with self._lock:
            self.era += 1
            if self._beginning is not None:
                self._rng.setstate(self._beginning)
            self._accounts = Accounts(self.options)
            self._generations = Generations(self.options.max_generations)
            self._forms: dict[str, Form] = {}
            self._faults: list[Fault] = []
            self._journal = Journal(self.options.max_entries)
            for kept in (self.uploads, self.sources, self.images):
                kept.clear()

    # Accounts

    def account(self, api_key: str | None) -> Account:
        """
        Find the account of a key.

        :raises Refusal: the key is missing, wrong or disabled
        """
        with self._lock:
            return self._accounts.find(api_key)

    def set_account(self, api_key: str, credits: int, *, enabled: bool = True) -> None:
        """Set the balance of an account, which is made if there is none with that key."""
        with self._lock:
            self._accounts.set(api_key, credits, enabled=enabled)

    def balance(self, account: Account) -> int:
        """Credits that the account has now."""
        with self._lock:
            self._settle()
            return account.credits

    # Generations

    def buy(self, account: Account, order: Order, source: str | None, fault: Fault | None) -> Generation:
        """
        Accept an order: take its credits (or reserve them) and start its generation.

        :param source: name of the source picture in ``sources``, for image-to-image
        :param fault: what is planned to go wrong with the generation
        :raises Refusal: not enough credits, or the account is gone
        """
        with self._lock:
            self._settle()
            cost = order.num_outputs * self.options.price
            account = self._accounts.find(account.api_key)  # it may be gone: a reset can come between
            self._accounts.pay(account, cost)
            self._journal.totals["bought"] += 1
            generation = self._start(account, order, source, cost, fault)
            dropped = self._generations.add(generation)
            if dropped is not None:
                self._accounts.settle(dropped)
            return generation

    def generation(self, generation_id: str, *, account: Account | None = None) -> Generation:
        """
        Find a generation, as it is now.

        :param account: whose it has to be; None for anybody's
        :raises Refusal: there is none with that id (any longer), or it is somebody else's
        """
        with self._lock:
            self._settle()
            generation = self._generations.get(generation_id)
            if generation is None or (account is not None and generation.api_key != account.api_key):
                raise Refusal("Task not found", status=404)
            return generation

    def finish(self, generation_id: str, fate: Fate) -> None:
        """
        End a generation now, whatever was drawn or planned for it.

        :raises Refusal: there is none with that id, or it has ended already
        """
        with self._lock:
            generation = self.generation(generation_id)
            if generation.state != "processing":
                raise Refusal(f"The generation is already {generation.state}")
            self._generations.finish(generation, fate)
            self._accounts.settle(generation)

    # Uploads

    def open_form(self, extension: str, content_type: str) -> Form:
        """Hand out a form for the upload of one picture."""
        with self._lock:
            form = make_form(f"{self._new_id()}{extension}", content_type, self.now(), self.sign)
            self._forms[form.fields["key"]] = form
            while len(self._forms) > self.options.max_entries:
                del self._forms[next(iter(self._forms))]
            return form

    def form(self, key: str) -> Form | None:
        """Return the form with that ``key`` field, or None if none was handed out (or long ago)."""
        with self._lock:
            return self._forms.get(key)

    def sign(self, text: str) -> str:
        """Make a signature, 64 hexadecimal digits, that only this emulator can make."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    # Faults

    def plan(self, *plans: Any) -> None:
        """
        Plan faults, all of them or none.

        :param plans: each as ``faults.plan_fault`` takes it
        :raises ValueError: one of them can't be planned; the message says why
        """
        faults = [plan_fault(plan) for plan in plans]
        with self._lock:
            self._faults.extend(faults)

    def clear_faults(self) -> None:
        """Forget all planned faults."""
        with self._lock:
            self._faults.clear()

    def next_fault(self, endpoint: str) -> Fault | None:
        """Count a request for the planned faults, and return the one it gets."""
        with self._lock:
            fault = strike(self._faults, endpoint, self._rng)
            self._journal.totals["faults_used"] += fault is not None
            return fault

    # Counts and log

    def record(self, endpoint: str, entry: Mapping[str, Any]) -> None:
        """Count a request and put it into the log."""
        with self._lock:
            self._journal.record(endpoint, self.now(), entry)

    def count(self, what: str) -> None:
        """Count one of ``images_served`` or ``uploads``."""
        with self._lock:
            self._journal.totals[what] += 1

    def refused(self, endpoint: str, refusal: Refusal) -> None:
        """Count a refusal, and remember it if the contract was broken."""
        with self._lock:
            self._journal.refused(endpoint, refusal)

    def requests(self) -> list[dict[str, Any]]:
        """Return the log, oldest entry first."""
        with self._lock:
            return list(self._journal.requests)

    def report(self) -> dict[str, Any]:
        """Return all counts, the violations and the planned faults."""
        with self._lock:
            self._settle()
            return {
                "requests": dict(self._journal.endpoints),
                **self._journal.totals,
                "credits_spent": self._accounts.spent,
                "generations": dict(self._generations.counts),
                "violations": list(self._journal.violations),
                "faults": [fault.as_json() for fault in self._faults],
            }

    # Inside

    def _start(self, account: Account, order: Order, source: str | None, cost: int, fault: Fault | None) -> Generation:
        kind = fault.kind if fault else ""
        duration = float("inf") if kind == "stuck" else self._rng.uniform(*self.options.duration_range)
        generation = Generation(
            id=self._new_id(),
            api_key=account.api_key,
            caption=order.prompt[:CAPTION_LENGTH],
            digest=order.digest,
            num_outputs=order.num_outputs,
            aspect_ratio=order.aspect_ratio,
            source=source,
            created=self.now(),
            ends=self.now() + duration,
            fate="failed" if kind == "fail" else "completed",
            cost=cost,
        )
        if fault is not None and kind == "missing_urls":
            generation.urls, generation.urls_missing = fault["urls"], fault["count"]
        return generation

    def _settle(self) -> None:
        for generation in self._generations.finish_due(self.now()):
            self._accounts.settle(generation)

    def _new_id(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"
