"""What a generation costs, and when it ends."""

from __future__ import annotations

import pytest


def test_credits_are_taken_at_create_by_image(start, clock):
    caller = start(credits=100, price=7)
    caller.create(num_outputs=3)
    assert caller.data("get_credits") == {"credits": 79}
    clock.move(10)
    assert caller.data("get_credits") == {"credits": 79}
    assert caller.emulator.report()["credits_spent"] == 21


def test_credits_not_enough(start):
    caller = start(credits=3)
    caller.create(num_outputs=2)
    answer = caller.post("create", caller.order(num_outputs=2))
    assert answer.json() == {"code": 0, "message": "Credits not enough"}
    report = caller.emulator.report()
    assert (report["bought"], report["refused"], report["credits_spent"], report["violations"]) == (1, 1, 2, [])
    caller.create(num_outputs=1)


def test_a_failed_generation_is_paid_for_unless_refunded(start, clock):
    for refund_failed, left in ((False, 9), (True, 10)):
        caller = start(credits=10, refund_failed=refund_failed)
        caller.emulator.plan("create", "fail")
        caller.create()
        clock.move(10)
        assert caller.data("get_credits") == {"credits": left}


def test_credits_taken_at_completion_are_reserved_until_then(start, clock):
    caller = start(credits=3, charge="completion")
    caller.emulator.plan("create", "fail")
    caller.create(num_outputs=1)
    caller.create(num_outputs=2)
    assert caller.data("get_credits") == {"credits": 3}
    assert caller.post("create", caller.order()).json()["message"] == "Credits not enough"
    clock.move(10)
    assert caller.data("get_credits") == {"credits": 1}
    assert caller.emulator.report()["credits_spent"] == 2
    caller.create()


def test_reserved_credits_of_a_dropped_generation_are_free_again(start):
    caller = start(credits=2, charge="completion", max_generations=1)
    for _ in range(5):
        caller.create()


def test_a_duration_is_drawn_around_the_estimate(start, clock):
    caller = start(estimated_time=100, duration=None, spread=0.2)
    generations = [caller.create() for _ in range(30)]
    clock.move(79.9)
    assert {caller.get(generation)["status"] for generation in generations} == {1}
    clock.move(20.1)
    assert {caller.get(generation)["status"] for generation in generations} == {1, 2}
    clock.move(20.1)
    assert {caller.get(generation)["status"] for generation in generations} == {2}


def test_a_duration_can_be_given_as_a_range_whatever_is_announced(start, clock):
    caller = start(estimated_time=1, duration=(50, 60))
    generation_id = caller.create()
    clock.move(49)
    assert caller.get(generation_id)["status"] == 1
    clock.move(11)
    assert caller.get(generation_id)["status"] == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("api_key", ""),
        ("credits", -1),
        ("price", -1),
        ("estimated_time", 0),
        ("estimated_time", 1.5),
        ("estimated_time", True),
        ("duration", -1),
        ("duration", (3, 2)),
        ("spread", 1.1),
        ("image_size", 8),
        ("image_format", "gif"),
        ("charge", "never"),
        ("pending_urls", "none"),
        ("result_lifetime", 0),
        ("max_generations", 0),
    ],
)
def test_options_out_of_range_are_refused(start, option, value):
    with pytest.raises(ValueError, match=option):
        start(**{option: value})
