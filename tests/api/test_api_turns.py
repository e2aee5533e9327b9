"""So many at a time: nobody is let in twice, forgotten, or kept from being cancelled."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient, turns_of
from airflow_provider_qwenimage.api.async_session import open_session
from airflow_provider_qwenimage.api.errors import NotSentError
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.api.settings import Settings
from airflow_provider_qwenimage.api.turns import Turns


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def enter(turns: Turns, timeout: float = 60.0) -> asyncio.Task[None]:
    return asyncio.ensure_future(turns.enter(timeout))


def test_places_are_given_in_the_order_of_the_line() -> None:
    """Two at a time, and whoever leaves lets in the one who has waited longest."""

    async def story() -> list[list[bool]]:
        turns = Turns(2)
        tasks = [enter(turns) for _ in range(4)]
        seen = []
        for _ in range(3):
            await settle()
            seen.append([task.done() for task in tasks])
            turns.leave()
        return seen

    assert asyncio.run(story()) == [
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]


def test_who_gives_up_is_passed_over() -> None:
    """Whether by cancellation or because the time is over."""

    async def story() -> None:
        turns = Turns(1)
        await turns.enter(0)
        cancelled = enter(turns)
        await settle()
        cancelled.cancel()
        with pytest.raises(asyncio.TimeoutError):
            await turns.enter(0)
        last = enter(turns)
        await settle()
        turns.leave()
        await last
        assert cancelled.cancelled()

    asyncio.run(story())


def test_a_place_that_comes_with_a_cancellation_is_not_lost() -> None:
    """It was this one's turn already: the next one gets it."""

    async def story() -> None:
        turns = Turns(1)
        await turns.enter(0)
        cancelled, following = enter(turns), enter(turns)
        await settle()
        turns.leave()
        cancelled.cancel()
        await asyncio.wait_for(following, 60)
        assert cancelled.cancelled()
        turns.leave()
        await turns.enter(0)

    asyncio.run(story())


def test_many_never_are_more_than_the_places() -> None:
    """And all of them get through."""

    async def story() -> tuple[int, int]:
        turns, inside, most, through = Turns(3), 0, 0, 0

        async def one() -> None:
            nonlocal inside, most, through
            await turns.enter(60)
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            through += 1
            turns.leave()

        await asyncio.gather(*(one() for _ in range(100)))
        return most, through

    assert asyncio.run(story()) == (3, 100)


def test_a_poll_that_never_gets_a_connection_was_not_sent() -> None:
    """Where all connections hang, a wait hears of it in the time that an answer may take, and can meet its deadline."""

    async def story() -> None:
        client = AsyncQwenImageClient(Settings("key", "http://127.0.0.1:9", 0.01, 0.01), retries=NO_RETRIES)
        async with open_session(connections=1) as session:
            await turns_of(session).enter(0)
            with pytest.raises(NotSentError, match="no answer in time"):
                await client.get_task(session, "abc")

    asyncio.run(story())
