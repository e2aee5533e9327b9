"""The generations of an emulator: which there are, and when each one ends."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from dataclasses import dataclass
from typing import Literal

Fate = Literal["completed", "failed"]
GenerationState = Literal["processing", "completed", "failed"]


@dataclass
class Generation:
    """
    One accepted ``create``.

    :param api_key: key of the account that it belongs to
    :param caption: the prompt, as far as it is drawn onto the picture
    :param digest: 32 bytes that are the same for the same order
    :param source: name of the source picture's bytes, for image-to-image
    :param created: when it was accepted, in seconds since the epoch
    :param ends: when it ends; infinity if it never does
    :param fate: how it ends
    :param cost: credits
    :param urls: which of its URLs are answered once it is completed
    :param urls_missing: how many URLs at the end are left out, if ``urls`` is "fewer"
    """

    id: str
    api_key: str
    caption: str
    digest: bytes
    num_outputs: int
    aspect_ratio: str | None
    source: str | None
    created: float
    ends: float
    fate: Fate
    cost: int
    urls: str = "all"
    urls_missing: int = 0
    state: GenerationState = "processing"


class Generations:
    """
    All generations up to a limit, the oldest finished ones dropped first.

    :param limit: how many are kept
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_id: dict[str, Generation] = {}
        self._finished: deque[str] = deque()
        self._due: list[tuple[float, str]] = []
        self.counts: Counter[str] = Counter(processing=0, completed=0, failed=0)

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, generation_id: str) -> Generation | None:
        """Return a generation, or None if there is none (any longer)."""
        return self._by_id.get(generation_id)

    def add(self, generation: Generation) -> Generation | None:
        """
        Take up a new generation.

        :return: a generation that was still processing and had to be dropped to make room, if any
        """
        self._by_id[generation.id] = generation
        self.counts["processing"] += 1
        if generation.ends != float("inf"):
            heapq.heappush(self._due, (generation.ends, generation.id))
        return self._drop_oldest() if len(self._by_id) > self._limit else None

    def finish(self, generation: Generation, fate: Fate) -> None:
        """End a generation that is processing."""
        generation.state = fate
        self.counts.subtract(["processing"])
        self.counts[fate] += 1
        self._finished.append(generation.id)

    def finish_due(self, now: float) -> list[Generation]:
        """End the generations whose time has come, and return them."""
        ended = []
        while self._due and self._due[0][0] <= now:
            generation = self._by_id.get(heapq.heappop(self._due)[1])
            # It may have been dropped, or ended by hand before its time.
            if generation is not None and generation.state == "processing":
                self.finish(generation, generation.fate)
                ended.append(generation)
        return ended

    def _drop_oldest(self) -> Generation | None:
        if self._finished:
            del self._by_id[self._finished.popleft()]
            return None
        dropped = self._by_id.pop(next(iter(self._by_id)))
        self.counts.subtract(["processing"])
        if len(self._due) > 2 * self._limit:  # else dropped generations would stay here until their time came
            self._due = [entry for entry in self._due if entry[1] in self._by_id]
            heapq.heapify(self._due)
        return dropped
