"""The fault campaign. QWENIMAGE_CAMPAIGN_SEED gives it another seed, QWENIMAGE_CAMPAIGN_COUNT another length."""

from __future__ import annotations

import logging
import os
from collections import Counter

import pytest
from reliability_campaign import Campaign, is_named, losses, run_campaign, table

SEED = os.environ.get("QWENIMAGE_CAMPAIGN_SEED", "2026")
COUNT = int(os.environ.get("QWENIMAGE_CAMPAIGN_COUNT", "2000"))


@pytest.fixture(scope="module")
def campaign() -> Campaign:
    """The campaign, run once; its table is printed, for ``pytest -s`` and for whoever reads a failure."""
    logging.disable(logging.CRITICAL)
    try:
        found = run_campaign(SEED, COUNT)
    finally:
        logging.disable(logging.NOTSET)
    print("\n" + table(found))
    return found


def test_what_was_bought_was_saved(campaign: Campaign):
    """Saved = bought: the rest failed, never ended or lacked images at the service, or its outcome is unknown."""
    assert not [reason for reason in losses(campaign) if "NO REASON" in reason]


def test_nothing_was_bought_twice(campaign: Campaign):
    """Bought = asked for: only what was over was bought again, or what the user had said may be paid for twice."""
    for story in campaign.stories:
        good = [one for one in campaign.generations[story.number] if one.state == "completed" and one.urls == "all"]
        unknown = story.seen.count("UnknownOutcomeError") + sum(seen.endswith("the submit") for seen in story.seen)
        assert len(good) <= 1 + (unknown if story.resubmit else 0), story


def test_everything_was_asked_for_or_said_why(campaign: Campaign):
    """No request disappeared: each has bought, or has ended in an error that says that nothing was bought or known."""
    none = Counter(type(story.error).__name__ for story in campaign.stories if not campaign.generations[story.number])
    assert set(none) <= {"InsufficientCreditsError", "UnknownOutcomeError"}


def test_what_was_saved_is_intact(campaign: Campaign):
    """Every saved file is byte for byte what the service made, and none is missing."""
    saved = [story for story in campaign.stories if story.paths]
    assert len(saved) > 0.8 * COUNT
    for story in saved:
        assert story.intact
        assert len(set(story.paths)) == len(story.paths)
        (generation,) = [one for one in campaign.generations[story.number] if one.id in story.saved_from]
        left_out = generation.urls_missing if generation.urls == "fewer" else 0
        assert len(story.paths) == story.num_outputs - left_out


def test_every_failure_is_a_named_exception(campaign: Campaign):
    """Whatever went wrong, a story ends in an error of our tree that Airflow knows how to treat."""
    strange = [story for story in campaign.stories if not story.paths and not is_named(story.error)]
    assert [(story.number, story.mode, repr(story.error), story.seen) for story in strange] == []


def test_nothing_is_stuck(campaign: Campaign):
    """Every story came to an end, and those with retries left came to a good one once the service was well again."""
    assert len(campaign.stories) == COUNT
    assert set(campaign.second_life) <= {
        "final",
        "saved",
        "GenerationFailedError",
        "GenerationTimeoutError",
        "UnknownOutcomeError",
        "NoImagesError",
    }


@pytest.mark.skipif(COUNT < 2000, reason="a short campaign does not meet every fault")
def test_every_fault_has_struck(campaign: Campaign):
    """The campaign is what it says: at least 2,000 generations, and every planned fault struck."""
    assert [fault for fault, count in campaign.faults.items() if count == 0] == []
    assert {story.mode for story in campaign.stories if story.deaths} == {story.mode for story in campaign.stories}
