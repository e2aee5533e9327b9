"""What waits of one process teach each other about estimates."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from random import Random
from threading import Thread

import pytest
from api_servers import bounded
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_qwenimage.api.experience import SCOPES, TEACHERS, Experience, experience_with
from airflow_provider_qwenimage.api.lifetimes import MEMORY
from airflow_provider_qwenimage.api.models import Generation, GenerationStatus
from airflow_provider_qwenimage.api.waiting import Done, KeepWaiting, Plan, Waiting

PROCESSING = Generation(generation_id="abc", status=GenerationStatus.PROCESSING)
COMPLETED = Generation(generation_id="abc", status=GenerationStatus.COMPLETED, result_urls=("https://cdn/x.jpeg",))
AGES = st.floats(0, 100_000)
ESTIMATES = st.none() | st.floats(0.1, 10_000)


def lives(experience: Experience, estimate: float | None, duration: float, times: int = 30) -> list[float]:
    """Wait for equal generations one after the other, and return the lags: seconds from an end to its detection."""
    chance, lags, now = Random(3), [], 0.0
    for _ in range(times):
        start = now
        waiting = Waiting(Plan("abc", start, 1e9, estimate), chance.uniform, experience)
        decision: object = waiting.start(start)
        while isinstance(decision, KeepWaiting):
            now = decision.until
            decision = waiting.after(now, COMPLETED if now >= start + duration else PROCESSING)
        assert isinstance(decision, Done)
        lags.append(now - start - duration)
    return lags


def first_poll(experience: Experience, estimate: float) -> float:
    """Return the age of the first poll of one more wait, with chance at its middle."""
    waiting = Waiting(Plan("abc", 0, 1e9, estimate), lambda low, high: (low + high) / 2, experience)
    return waiting.start(0).until


def test_waits_that_start_at_once_are_found_soon_with_few_polls() -> None:
    """1,000 generations of 8 to 12 s with an estimate of 10 s, in one process and all at the same time."""
    chance, experience, lags, polls = Random(11), Experience(), [], 0
    due = []
    for number in range(1000):
        waiting = Waiting(Plan("abc", 0, 1e9, 10), chance.uniform, experience)
        due.append((waiting.start(0).until, number, chance.uniform(8, 12), waiting))
    heapify(due)
    while due:
        now, number, duration, waiting = heappop(due)
        decision, polls = waiting.after(now, COMPLETED if now >= duration else PROCESSING), polls + 1
        if isinstance(decision, KeepWaiting):
            heappush(due, (decision.until, number, duration, waiting))
        else:
            lags.append(now - duration)
    lags.sort()
    assert polls <= 2500
    assert lags[500] <= 0.6
    assert lags[990] <= 1.5


def test_an_estimate_that_is_too_long_is_seen_through() -> None:
    """Told 100 s, taking 10 s: after a few waits the next one is found as soon as with a right estimate."""
    lags = lives(Experience(), 100, 10)
    assert max(lags[-10:]) < 1.5


def test_an_estimate_that_is_too_short_is_seen_through() -> None:
    """Told 3 s, taking 10 s: polls are not wasted on the time before."""
    experience = Experience()
    assert first_poll(experience, 3) < 4
    lives(experience, 3, 10)
    assert first_poll(experience, 3) > 4.5


def test_what_was_learned_holds_for_other_estimates() -> None:
    """Half the estimate is half the estimate, also of a longer one."""
    experience = Experience()
    assert not 30 < first_poll(experience, 100) < 60
    lives(experience, 40, 20)
    assert 30 < first_poll(experience, 100) < 60


def test_generations_without_an_estimate_are_learned_in_seconds() -> None:
    """And apart from the others."""
    experience = Experience()
    assert max(lives(experience, None, 20)[-10:]) < 2.5
    assert first_poll(experience, 100) == first_poll(Experience(), 100)


def test_a_service_that_becomes_faster_or_slower_is_followed() -> None:
    """Newer generations count more than older ones."""
    experience = Experience()
    lives(experience, 10, 10, times=200)
    assert max(lives(experience, 10, 30, times=100)[-10:]) < 2.5
    assert max(lives(experience, 10, 5, times=100)[-10:]) < 1.5


def test_a_wait_that_starts_late_teaches_nothing() -> None:
    """It can't tell when the generation ended."""
    experience = Experience()
    for _ in range(50):
        waiting = Waiting(Plan("abc", 0, 1e9, 10), Random(1).uniform, experience)
        assert waiting.start(5000) == KeepWaiting(5000)
        assert waiting.after(5000, COMPLETED) == Done(COMPLETED)
    assert first_poll(experience, 10) == first_poll(Experience(), 10)


def learned_from(experience: Experience, starts: list[float]) -> int:
    """Count the waits that are learned from, of some that begin at these times, epoch seconds."""
    return sum(experience.may_teach(start, 10) for start in starts)


def test_of_waits_that_begin_together_some_are_learned_from() -> None:
    """Thousands that begin at once, and so end at once, must not each cost what it takes to learn."""
    assert learned_from(Experience(), [5.0] * 5000) == TEACHERS
    assert learned_from(Experience(), [number / 2000 for number in range(4000)]) == pytest.approx(3 * TEACHERS, abs=2)
    assert learned_from(Experience(), [number / 80 for number in range(4000)]) == 4000


def test_those_without_an_estimate_do_not_take_the_place_of_others() -> None:
    """What is learned of the ones is of no use for the others."""
    experience = Experience()
    assert sum(experience.may_teach(5.0, None) for _ in range(5000)) == TEACHERS
    assert learned_from(experience, [5.0]) == 1


def test_a_clock_that_was_put_back_does_not_end_the_learning() -> None:
    """It goes on with the next second by the new clock."""
    experience = Experience()
    learned_from(experience, [9000.0] * 5000)
    assert learned_from(experience, [5.0]) == 0
    assert learned_from(experience, [6.0] * 5000) == TEACHERS


def test_a_wait_that_is_not_learned_from_teaches_nothing_at_all() -> None:
    """Not even its later polls: what is learned would be skewed."""
    experience = Experience()
    learned_from(experience, [0.0] * 5000)
    waiting = Waiting(Plan("abc", 0, 1e9, 10), Random(1).uniform, experience)
    waiting.start(0)
    for age in (4, 6, 8):
        waiting.after(age, PROCESSING)
    assert waiting.after(9, COMPLETED) == Done(COMPLETED)
    assert first_poll(experience, 10) == first_poll(Experience(), 10)


def test_waits_of_one_connection_share_what_they_saw() -> None:
    """And those of another one do not; the number of connections has a bound."""
    ours = experience_with("ours")
    assert experience_with("ours") is ours
    assert experience_with("theirs") is not ours
    for number in range(SCOPES - 1):
        experience_with("ours")
        experience_with(f"other {number}")
    assert experience_with("ours") is ours
    for number in range(SCOPES):
        experience_with(f"another {number}")
    assert experience_with("ours") is not ours


def test_threads_may_share_it() -> None:
    """No count is lost or broken when many learn at once."""
    experience = Experience()
    threads = [Thread(target=lives, args=(experience, 10, 7, 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(lives(experience, 10, 7)[-10:]) < 1.5


@bounded
@given(st.lists(st.tuples(AGES, AGES, ESTIMATES, st.booleans()), max_size=40), AGES, ESTIMATES, st.floats(0.3, 3))
def test_any_experience_gives_a_time_in_bounds(
    history: list[tuple[float, float, float | None, bool]], age: float, estimate: float | None, keenness: float
) -> None:
    """Whatever was seen, the next poll is after the last one and not after the latest time; counts stay bounded."""
    experience = Experience()
    for first, second, told, ended in history:
        learn = experience.completed if ended else experience.processing
        learn(min(first, second), max(first, second), told)
    assert age < experience.next_poll(age, estimate, keenness=keenness, latest=age + 1000) <= age + 1000
    for lifetimes in (experience._with_estimate, experience._without):
        assert min(*lifetimes._seen, *lifetimes._ended) >= 0
        assert max(*lifetimes._seen, *lifetimes._ended) <= MEMORY
