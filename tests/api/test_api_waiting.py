"""The wait decides right after every poll, with the clock as an argument and the spread fixed."""

from __future__ import annotations

from typing import Any

import pytest
from api_servers import bounded
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    GenerationFailedError,
    GenerationTimeoutError,
    InsufficientCreditsError,
    InvalidRequestError,
    NoImagesError,
    NotFoundError,
    NotSentError,
    OverloadedError,
    QwenImageError,
    RejectedError,
    ServiceError,
    UnexpectedReplyError,
)
from airflow_provider_qwenimage.api.models import Generation, GenerationStatus
from airflow_provider_qwenimage.api.waiting import Done, GiveUp, KeepWaiting, Plan, Waiting

START = 1_790_000_000.0
PROCESSING = Generation(generation_id="abc", status=GenerationStatus.PROCESSING)
COMPLETED = Generation(generation_id="abc", status=GenerationStatus.COMPLETED, result_urls=("https://cdn/x.jpeg",))
FAILED = Generation(generation_id="abc", status=GenerationStatus.FAILED)


def lowest(low: float, high: float) -> float:
    return low


def highest(low: float, high: float) -> float:
    return high


def middle(low: float, high: float) -> float:
    return (low + high) / 2


def waiting(spread: Any = middle, **plan: Any) -> Waiting:
    return Waiting(Plan(**{"generation_id": "abc", "submitted_at": START, "deadline": START + 3600, **plan}), spread)


def next_poll(decision: Any, now: float) -> float:
    """Seconds from now until the next poll."""
    assert isinstance(decision, KeepWaiting)
    return round(decision.until - now, 6)


# The first poll


@pytest.mark.parametrize("late", [0, 5, 8])
def test_the_first_poll_comes_from_the_estimate(late: float) -> None:
    """Counted from submission and not from now; chance may put it well before the estimate, but hardly after it."""
    low, usual, high = (
        waiting(spread, estimated_time=15).start(START + late).until - START for spread in (lowest, middle, highest)
    )
    assert 7 < low < 0.8 * 15 < usual < high < 15


def test_the_first_poll_is_at_once_when_it_is_due_already() -> None:
    """A wait that starts after the estimate does not wait for it again."""
    assert waiting(estimated_time=20).start(START + 500) == KeepWaiting(START + 500)


@pytest.mark.parametrize("plan", [{}, {"estimated_time": None}, {"estimated_time": 0}, {"poll_interval": 7}])
def test_the_first_poll_is_at_once_without_an_estimate(plan: dict[str, Any]) -> None:
    """With no estimate, or an interval of the user's, the first poll is made right away."""
    assert waiting(**plan).start(START + 3) == KeepWaiting(START + 3)


def test_a_fixed_interval_goes_before_the_estimate() -> None:
    """Who sets an interval gets it, from the first poll on."""
    assert waiting(estimated_time=60, poll_interval=7).start(START) == KeepWaiting(START)


@pytest.mark.parametrize("plan", [{}, {"estimated_time": 20}, {"poll_interval": 5}])
def test_no_poll_before_not_before(plan: dict[str, Any]) -> None:
    """A poll that was just made elsewhere is not made again."""
    assert waiting(not_before=START + 40, **plan).start(START) == KeepWaiting(START + 40)


@pytest.mark.parametrize("plan", [{"estimated_time": 10_000}, {"not_before": START + 10_000}])
def test_the_first_poll_is_not_after_the_deadline(plan: dict[str, Any]) -> None:
    """An estimate beyond the deadline is polled at the deadline."""
    assert waiting(deadline=START + 100, **plan).start(START) == KeepWaiting(START + 100)


def test_a_deadline_that_is_over_is_polled_once_more() -> None:
    """After a long outage of the triggerer, the generation may well be completed."""
    assert waiting(deadline=START + 100, estimated_time=60).start(START + 200) == KeepWaiting(START + 200)


# The next polls


@pytest.mark.parametrize(
    ("age", "least", "most"), [(0, 6, 9), (10, 2, 4), (60, 6, 8), (100, 9, 11), (200, 18, 21), (3000, 24, 30)]
)
def test_the_interval_grows_with_the_age(age: float, least: float, most: float) -> None:
    """Where nothing is known, a minute's wait and a longer one are late by a tenth of it at most, or by 30 s."""
    now = START + age
    assert least <= next_poll(waiting().after(now, PROCESSING), now) <= most


@pytest.mark.parametrize(("spread", "share"), [(lowest, 0.8), (highest, 1.2)])
def test_fixed_intervals_are_spread(spread: Any, share: float) -> None:
    """Each is drawn a fifth around its length."""
    now = START + 200
    assert next_poll(waiting(spread, poll_interval=30).after(now, PROCESSING), now) == pytest.approx(30 * share)


def test_equal_waits_do_not_poll_in_step() -> None:
    """Thousand waits that start together are spread out by chance."""
    plan = Plan("abc", START, START + 3600, estimated_time=15)
    assert len({Waiting(plan).start(START).until for _ in range(20)}) > 15
    assert len({Waiting(plan).after(START + 50, PROCESSING).until for _ in range(20)}) > 15


def test_a_clock_that_was_put_back_does_no_harm() -> None:
    """Before the submission, as it seems, the shortest interval holds."""
    assert next_poll(waiting().after(START - 500, PROCESSING), START - 500) < 10


# Failures


def test_failures_back_off_and_a_success_resets_them() -> None:
    """Waits double from failure to failure up to a minute, and start anew after an answer."""
    wait, now = waiting(highest), START + 20
    history = [ServiceError("lost")] * 7 + [PROCESSING] + [ServiceError("lost")] * 2
    lengths = [next_poll(wait.after(now, found), now) for found in history]
    answered = lengths.pop(7)
    assert lengths == pytest.approx([2, 4, 8, 16, 32, 60, 60, 2, 4])
    assert 3 < answered < 6


def test_backoff_is_spread_from_half() -> None:
    """The drawn wait is at least half of the backoff."""
    now = START + 100
    assert next_poll(waiting(lowest).after(now, ServiceError("lost")), now) == 5


def test_a_fixed_interval_backs_off_too() -> None:
    """Never more often than the user asked for, halved by chance at most; longer than a minute if he asked for that."""
    now = START + 100
    assert next_poll(waiting(highest, poll_interval=7).after(now, ServiceError("lost")), now) == 7
    assert next_poll(waiting(highest, poll_interval=300).after(now, ServiceError("lost")), now) == 300


def test_thousands_of_failures_in_a_row() -> None:
    """The doubling does not run into numbers without end."""
    wait = waiting(highest, deadline=START + 10**9)
    for _ in range(5000):
        decision = wait.after(START, ServiceError("lost"))
    assert next_poll(decision, START) == 60


@pytest.mark.parametrize(("asked", "wait"), [(None, 20), (0, 20), (3, 20), (45, 45), (300, 300)])
def test_retry_after_is_the_least_wait(asked: float | None, wait: float) -> None:
    """The service's own word on when to come back is kept, if it is later than our own wait."""
    now = START + 200
    found = OverloadedError("busy", retry_after=asked)
    assert next_poll(waiting(highest).after(now, found), now) == wait


@pytest.mark.parametrize(
    "error",
    [
        NotSentError("x"),
        OverloadedError("x"),
        ServiceError("x"),
        UnexpectedReplyError("x"),
        RejectedError("Server busy"),
        InsufficientCreditsError("x"),
    ],
)
def test_what_may_pass_is_waited_out(error: QwenImageError) -> None:
    """Such a poll is made again, and the decision tells what went wrong."""
    decision = waiting().after(START + 5, error)
    assert isinstance(decision, KeepWaiting)
    assert decision.problem is error


def test_a_problem_is_forgotten_with_the_next_answer() -> None:
    """After a poll that worked there is nothing to report."""
    wait = waiting()
    wait.after(START + 5, ServiceError("lost"))
    assert wait.after(START + 6, PROCESSING).problem is None


# The end


def test_a_completed_generation_is_done() -> None:
    """Its answer is handed on."""
    assert waiting().after(START + 20, COMPLETED) == Done(COMPLETED)


def test_a_completed_generation_is_done_after_the_deadline_too() -> None:
    """What has been paid for and is there, is taken."""
    assert waiting(deadline=START + 10).after(START + 20, COMPLETED) == Done(COMPLETED)


def test_a_failed_generation_ends_the_wait() -> None:
    """With an error that names it."""
    decision = waiting().after(START + 20, FAILED)
    assert isinstance(decision, GiveUp)
    assert type(decision.error) is GenerationFailedError
    assert decision.error.generation_id == "abc"
    assert "abc" in decision.error.message


@pytest.mark.parametrize("kind", [AuthenticationError, GenerationFailedError, NoImagesError, InvalidRequestError])
@pytest.mark.parametrize("now", [START + 1, START + 5000])
def test_final_errors_end_the_wait_at_once(kind: type[QwenImageError], now: float) -> None:
    """Asking again can't help; the error itself is handed on, and names the generation."""
    error = kind("no")
    decision = waiting().after(now, error)
    assert decision == GiveUp(error)
    assert error.generation_id == "abc"


@pytest.mark.parametrize(("estimated_time", "grace"), [(None, 60), (15, 60), (300, 300)])
def test_not_found_is_final_only_when_the_generation_should_be_known(estimated_time: float | None, grace: int) -> None:
    """Nobody promises that a new generation is known at once: for a minute, or its estimate, it is asked for again."""
    error = NotFoundError("no")
    wait = waiting(estimated_time=estimated_time)
    early = wait.after(START + grace - 1, error)
    assert isinstance(early, KeepWaiting)
    assert early.problem is error
    assert wait.after(START + grace, error) == GiveUp(error)
    assert error.generation_id == "abc"


def test_the_deadline_is_met_exactly() -> None:
    """The last poll is at the deadline, not before it and not after it; the wait ends with that poll."""
    wait = waiting(highest, deadline=START + 105)
    assert wait.after(START + 100, PROCESSING) == KeepWaiting(START + 105)
    decision = wait.after(START + 105, PROCESSING)
    assert isinstance(decision, GiveUp)
    assert type(decision.error) is GenerationTimeoutError
    assert decision.error.generation_id == "abc"
    assert "abc after 105 s: it is still processing" in decision.error.message


@pytest.mark.parametrize("found", [OverloadedError("busy", retry_after=300), ServiceError("The answer was lost.")])
def test_no_wait_passes_the_deadline(found: QwenImageError) -> None:
    """Neither backoff nor Retry-After lead past it; at the deadline the last problem is told."""
    wait = waiting(highest, deadline=START + 105, poll_interval=90)
    assert wait.after(START + 100, found) == KeepWaiting(START + 105, found)
    decision = wait.after(START + 105, found)
    assert isinstance(decision, GiveUp)
    assert f"the last poll failed: {found.message}" in decision.error.message


# Any history

FOUND = st.sampled_from(
    [
        PROCESSING,
        COMPLETED,
        FAILED,
        NotSentError("x"),
        ServiceError("x"),
        RejectedError("x"),
        NotFoundError("x"),
        *[OverloadedError("x", retry_after=seconds) for seconds in (0, 7, 300)],
    ]
)
SECONDS = st.floats(0, 10_000)
PLANS = st.builds(
    lambda deadline, before, **plan: Plan("abc", START, START + deadline, not_before=START + before, **plan),
    st.floats(-100, 5000),
    SECONDS,
    estimated_time=st.none() | st.floats(0, 86_400),
    poll_interval=st.none() | st.floats(5, 600),
)


@bounded
@given(PLANS, st.lists(st.tuples(FOUND, st.floats(0, 30)), max_size=30), st.randoms(use_true_random=False), SECONDS)
def test_any_wait_keeps_its_promises(plan: Plan, history: list[Any], chance: Any, late: float) -> None:
    """The next poll is never in the past nor beyond the deadline, and past the deadline there is none."""
    wait, now = Waiting(plan, chance.uniform), START + late
    first = wait.start(now)
    assert now <= first.until <= max(plan.deadline, now)
    now = first.until
    for found, delay in history:
        now += delay
        decision = wait.after(now, found)
        if not isinstance(decision, KeepWaiting):
            assert isinstance(decision, (Done, GiveUp))
            return
        assert now < plan.deadline
        assert now < decision.until <= plan.deadline
        now = decision.until


@bounded
@given(PLANS, st.randoms(use_true_random=False))
def test_every_wait_ends_at_its_deadline(plan: Plan, chance: Any) -> None:
    """A generation that stays in processing for ever is given up at the deadline, after not too many polls."""
    wait, polls = Waiting(plan, chance.uniform), 0
    now = wait.start(START).until
    while isinstance(decision := wait.after(now, PROCESSING), KeepWaiting):
        now, polls = decision.until, polls + 1
        assert polls < 1300
    assert now == max(plan.deadline, START)
    assert type(decision.error) is GenerationTimeoutError


@bounded
@given(st.floats(0, 100_000), st.randoms(use_true_random=False), st.floats(0.5, 600))
def test_jitter_of_fixed_intervals_has_bounds(age: float, chance: Any, interval: float) -> None:
    """Polls come no earlier than 80 % of the interval and no later than 120 %."""
    now = START + age
    wait = waiting(chance.uniform, deadline=START + 10**9, poll_interval=interval)
    assert interval * 0.8 - 1e-3 <= next_poll(wait.after(now, PROCESSING), now) <= interval * 1.2 + 1e-3


@bounded
@given(st.floats(0, 100_000), st.randoms(use_true_random=False), st.none() | st.floats(0, 100_000))
def test_jitter_has_bounds(age: float, chance: Any, estimate: float | None) -> None:
    """Chance moves a poll between bounds: no nearer than half a second and, past the estimate, no farther than 30 s."""
    now = START + age
    lengths = [
        next_poll(waiting(spread, deadline=START + 10**9, estimated_time=estimate).after(now, PROCESSING), now)
        for spread in (lowest, chance.uniform, highest)
    ]
    assert lengths[0] >= 0.5 - 1e-6
    assert lengths[0] - 1e-6 <= lengths[1] <= lengths[2] + 1e-6
    assert lengths[2] <= max(30.0, (estimate or 0) - age) + 1e-3
