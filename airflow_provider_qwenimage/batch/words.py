"""What a ledger says of an item: one JSON object a line, the last one of a key counts."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

STARTED = "started"
INTENDED, SUBMITTED, SAVED = "intended", "submitted", "saved"
FREE, FAILED, REJECTED, UNKNOWN = "free", "failed", "rejected", "unknown"
STATES = (STARTED, INTENDED, SUBMITTED, SAVED, FREE, FAILED, REJECTED, UNKNOWN)


@dataclass(frozen=True)
class Word:
    """One line. It stands on users' disks: later versions may add fields with defaults, never rename or remove one.

    :param key: whose; empty for the run as a whole.
    :param state: ``intended`` (about to be submitted), ``free`` (it was refused before it was worked on),
        ``submitted``, ``saved``, ``failed`` (by the service, a new try buys anew unless ``final``), ``rejected`` (the
        service said no) or ``unknown`` (the answer was lost); ``started`` for the run.
    :param fingerprint: digest of the request; another one is another purchase.
    :param marker: tells the tries of one run of the task from those after a manual Clear.
    :param at: when it was written, epoch seconds.
    :param by: who wrote it: the number of the try and a nonce.
    :param purchases: how many generations were bought for this key so far.
    :param submitted_at: epoch seconds.
    :param estimated_time: seconds.
    :param seconds: from submission to completion.
    :param images: a record of each saved image.
    :param reason: name of the error's class.
    :param error: what went wrong, in words.
    :param final: whether a new try would end the same.
    :param try_at: when this try of the task started, epoch seconds.
    :param life: who began the life of the task instance that this is about: a run that is deleted and made again under
        the same id begins another one, for which earlier words do not count. None for the first one.
    """

    key: str
    state: str
    fingerprint: str = ""
    marker: int = 0
    at: float = 0.0
    by: str = ""
    purchases: int = 0
    generation_id: str | None = None
    submitted_at: float | None = None
    estimated_time: float | None = None
    seconds: float | None = None
    images: list[dict[str, Any]] | None = None
    reason: str | None = None
    error: str | None = None
    final: bool | None = None
    try_at: float | None = None
    life: str | None = None

    @classmethod
    def read(cls, line: bytes | str) -> Word:
        """Return the word of a line; fields that are not known are left out.

        :raises ValueError: it is none; taking that for nothing could buy again.
        """
        try:
            found = json.loads(line)
            word = cls(**{name: found[name] for name in _NAMES if name in found})
        except (ValueError, TypeError, RecursionError):
            raise ValueError(f"this line can't be read: {line[:200]!r}") from None
        if not isinstance(word.key, str) or word.state not in STATES:
            raise ValueError(f"this line can't be understood: {line[:200]!r}")
        return word

    def line(self) -> str:
        """Return the word as JSON, without what is not known."""
        return json.dumps({name: value for name, value in vars(self).items() if value is not None})


_NAMES = tuple(field.name for field in fields(Word))
