"""What reads the service's answers and images, on a bounded number of hostile inputs; ``make fuzz`` takes longer."""

from __future__ import annotations

import io
import random
import threading
from collections import Counter
from contextlib import suppress

import pytest
import reliability_fuzz
from reliability_fuzz import CALLS, NOW, PNG, TARGETS, mutated, no_hang, seeds

from airflow_provider_qwenimage.api import images, wire
from airflow_provider_qwenimage.api.errors import BrokenImageError, QwenImageError

INPUTS = 100_000


def test_good_replies_are_read():
    """The inputs that bad ones are made from come far: a fuzzer that only sees garbage finds nothing."""
    found = []
    for data in seeds("wire"):
        with suppress(QwenImageError):
            found.append(wire.read(CALLS[data[0]](), wire.Reply(200, data[3:]), NOW))
    kinds = Counter(type(one).__name__ for one in found)
    assert kinds == {"Submission": 3, "Generation": 2, "float": 1, "UploadForm": 1}


def test_good_images_are_read():
    """The same for the images."""
    assert [images.inspect(io.BytesIO(data)).width for data in seeds("images")] == [9] * 8


@pytest.mark.parametrize("target", TARGETS)
def test_hostile_inputs_end_in_our_own_errors(target: str):
    """Damaged replies and images end in an answer or in an error of ours, each within seconds; the same ones always."""
    dice, good = random.Random(2026), seeds(target)
    for _ in range(INPUTS):
        data = mutated(dice.choice(good), dice)
        with no_hang():
            TARGETS[target](data)


def test_a_png_whose_header_is_not_its_first_chunk_is_refused():
    """Found by atheris: it passed as whole, and writing metadata into it broke it."""
    good = next(data for data in seeds("images") if data.startswith(PNG))
    data = good.index(b"IDAT") - 4, good.index(b"IEND") - 4
    moved = PNG + good[slice(*data)] + good[len(PNG) :]
    TARGETS["images"](moved)
    with pytest.raises(BrokenImageError, match="does not start with its header"):
        images.inspect(io.BytesIO(moved))


def test_the_targets_can_fail(monkeypatch: pytest.MonkeyPatch):
    """An exception that is not ours comes through."""
    monkeypatch.setattr(wire, "_envelope", lambda body: {}[body])
    with pytest.raises(KeyError):
        TARGETS["wire"](b"\x00\x00\x00{}")


def test_a_hang_is_interrupted(monkeypatch: pytest.MonkeyPatch):
    """An input that takes too long ends in an error."""
    monkeypatch.setattr(reliability_fuzz, "ONE_INPUT", 1)
    with pytest.raises(TimeoutError), no_hang():
        threading.Event().wait(60)
