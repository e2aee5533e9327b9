"""The gate that all submissions share: when it closes for good, and when it must not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_qwenimage.api.errors import OverloadedError, RejectedError
from airflow_provider_qwenimage.batch.gate import REJECTED_IN_A_ROW, Gate, GateClosedError

PATIENCE = 900.0


class Clock:
    """Stands still until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def gate_of(steps: Callable[[Gate, Clock], Any]) -> Gate:
    """A gate after some steps."""

    async def run() -> Gate:
        clock = Clock()
        gate = Gate(PATIENCE, clock)
        steps(gate, clock)
        return gate

    return asyncio.run(run())


def test_a_first_refusal_after_a_long_wait_closes_nothing():
    """While slow generations fill max_active nothing is submitted: that time says nothing about the service."""

    def steps(gate: Gate, clock: Clock) -> None:
        gate.accepted()
        clock.now = PATIENCE + 5
        gate.refused(OverloadedError("busy"))

    assert gate_of(steps).closed_by is None


def test_refusals_for_too_long_close_it():
    """Counted from the first refusal since something was accepted."""

    def steps(gate: Gate, clock: Clock) -> None:
        gate.refused(OverloadedError("before"))
        clock.now = 10.0
        gate.accepted()
        gate.refused(OverloadedError("first"))
        clock.now = PATIENCE + 9
        gate.refused(OverloadedError("still"))
        assert gate.closed_by is None
        clock.now = PATIENCE + 10
        gate.refused(OverloadedError("last"))

    assert str(gate_of(steps).closed_by).startswith("last")


def reject(gate: Gate, number: int, words: str = "Server busy") -> None:
    for _ in range(number):
        gate.rejected(RejectedError(words))


def test_the_same_no_over_and_over_closes_it():
    """Who is closed out learns what the service said; it is not about the request, so a retry may help."""
    gate = gate_of(lambda gate, clock: reject(gate, REJECTED_IN_A_ROW))
    with pytest.raises(GateClosedError) as closed:
        asyncio.run(gate.enter())
    assert f"{REJECTED_IN_A_ROW} submissions in a row" in str(closed.value)
    assert "Server busy" in str(closed.value)


@pytest.mark.parametrize(
    "between",
    [Gate.accepted, lambda gate: reject(gate, 1, "Invalid image url")],
    ids=["something is accepted", "another no"],
)
def test_other_answers_in_between_keep_it_open(between: Callable[[Gate], None]):
    """Requests that break rules are rejected too, each for itself."""

    def steps(gate: Gate, clock: Clock) -> None:
        reject(gate, REJECTED_IN_A_ROW - 1)
        between(gate)
        reject(gate, REJECTED_IN_A_ROW - 1)

    assert gate_of(steps).closed_by is None
