"""What an earlier try has left to do for an item: nothing, wait for what is bought, or buy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_qwenimage.api.errors import MissingImagesError, UnknownOutcomeError
from airflow_provider_qwenimage.batch.index import BUY, WAIT, Entry, Verdict, in_words
from airflow_provider_qwenimage.batch.ledger import Ledger
from airflow_provider_qwenimage.batch.words import FAILED, INTENDED, REJECTED, SAVED, SUBMITTED, UNKNOWN, Word

CUT_OFF = "An earlier try was cut off while it submitted this."


@dataclass(frozen=True)
class Rules:
    """How the user wants doubtful cases judged.

    :param resubmit: whether to submit again after a submission whose outcome is unknown.
    :param keep_missing: whether fewer images than asked for are good enough.
    """

    resubmit: bool = False
    keep_missing: bool = False

    @property
    def good(self) -> tuple[str, ...]:
        """The outcomes that are no failures."""
        return ("saved", "missing_images") if self.keep_missing else ("saved",)


def judge(entry: Entry, word: Word | None, ledger: Ledger, rules: Rules) -> str | Verdict:
    """Return what is to be done for an item, or how it has ended.

    :param word: the ledger's last one about its key.
    """
    if word is None or not ledger.counts(word, entry.item.fingerprint):
        return BUY
    if word.state == SUBMITTED:
        return WAIT
    if word.state == SAVED:
        return saved(entry, len(word.images or ()))
    new_try = not ledger.is_of_this_try(word)  # else a deferral has just ended, and what failed before it stays so
    if word.state in (INTENDED, UNKNOWN):
        return BUY if rules.resubmit and new_try else unknown(word, final=not rules.resubmit)
    if word.state == REJECTED and ledger.was_cleared_since(word):
        return BUY  # it has cost nothing, and who clears the task may have mended the cause
    if word.state in (FAILED, REJECTED) and (word.final or not new_try):
        return Verdict(word.state, word.reason or "", word.error or "", final=bool(word.final))
    return BUY


def saved(entry: Entry, found: int) -> Verdict:
    """Return how an item has ended of which ``found`` images are saved."""
    wanted = entry.item.request["num_outputs"]
    if found >= wanted:
        return Verdict("saved")
    error = MissingImagesError(f"There are {found} of {wanted} images.")
    return Verdict.of("missing_images", error, final=True)


def unknown(word: Word, *, final: bool) -> Verdict:
    """Return the outcome of an item that may have been bought."""
    error = word.error or in_words(UnknownOutcomeError(CUT_OFF))
    return Verdict("unknown", UnknownOutcomeError.__name__, error, final)


def facts_of(entry: Entry) -> Mapping[str, object]:
    """Return what stands in the record of each image of an item."""
    return {"key": entry.item.key, "prompt": entry.item.request["prompt"], "model_id": entry.item.request["model_id"]}
