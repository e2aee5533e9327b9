"""Thousands of waits in one event loop, as in a triggerer: ``python -m benchmarks.waits``.

Ours is the real trigger with the real look-up of its connection. The limit is a loop that does nothing but poll with
one shared aiohttp session. The others poll every 5 s: the http provider's sensor trigger, which opens a
session for each poll, and a sync client in a thread per poll, as triggers of the anthropic and common-ai providers
do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.common import KEY, Meter, Stalls, contend, counts, lean_server, percentile, table
from benchmarks.lean_server import done_at, new_id

ESTIMATE = float(os.environ.get("BENCHMARK_ESTIMATE", "10"))  # seconds; generations take a fifth more or less
PATIENCE = 600  # seconds for one contender; the slowest needs one to two minutes for 5,000 waits
Wait = Callable[[str, float], Awaitable[Any]]


def ours(url: str, stack: AsyncExitStack, interval: float | None = None) -> Wait:
    from airflow_provider_qwenimage.triggers import QwenImageTaskTrigger

    async def wait(generation_id: str, start: float) -> None:
        trigger = QwenImageTaskTrigger(
            generation_id, start, start + 600, estimated_time=ESTIMATE, poll_interval=interval
        )
        async for event in trigger.run():
            assert event.payload["status"] == "success", event

    return wait


def ours_every_5_s(url: str, stack: AsyncExitStack) -> Wait:
    return ours(url, stack, 5.0)


def bare(url: str, stack: AsyncExitStack) -> Wait:
    """A poll each second from the ninth on, and nothing else."""
    import aiohttp

    headers = {"Api-Key": KEY, "Content-Type": "application/json"}

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=300))
    stack.push_async_callback(session.close)

    async def wait(generation_id: str, start: float) -> None:
        body = json.dumps({"task_id": generation_id}).encode()
        await asyncio.sleep(ESTIMATE * (0.9 - 0.1 * chance.random()))
        while True:
            async with session.post(f"{url}/api/task/get", data=body, headers=headers) as answer:
                if json.loads(await answer.read())["data"]["status"] == 2:
                    return
            await asyncio.sleep(1)

    chance = random.Random(6)
    return wait


def http_sensor(url: str, stack: AsyncExitStack) -> Wait:
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    async def wait(generation_id: str, start: float) -> None:
        trigger = HttpSensorTrigger(endpoint=f"until/{generation_id}", poke_interval=5.0)
        async for _ in trigger.run():
            return

    return wait


def threads(url: str, stack: AsyncExitStack) -> Wait:
    from airflow_provider_qwenimage.api.client import QwenImageClient
    from airflow_provider_qwenimage.api.settings import Settings

    def poll(generation_id: str) -> bool:
        with QwenImageClient(Settings(KEY, url)) as client:
            return bool(client.get_task(generation_id).result_urls)

    async def wait(generation_id: str, start: float) -> None:
        while not await asyncio.to_thread(poll, generation_id):  # noqa: ASYNC110 - that is what they do
            await asyncio.sleep(5)

    return wait


CONTENDERS: dict[str, tuple[str, Callable[[str, AsyncExitStack], Wait]]] = {
    "bare": ("bare aiohttp loop, a poll a second from the 8th or 9th on", bare),
    "ours": ("`QwenImageTaskTrigger`", ours),
    "ours-5s": ("the same, `poll_interval=5`", ours_every_5_s),
    "http": ("http provider's `HttpSensorTrigger`, 5 s", http_sensor),
    "threads": ("a thread per poll, 5 s", threads),
}


async def drive(name: str, url: str, count: int, spread: float) -> tuple[list[float], float]:
    """Start the waits as a triggerer does, one after the other; return their lags and the longest stall (s)."""
    chance, stalls, lags = random.Random(5), Stalls(), []
    watch = asyncio.ensure_future(stalls.watch())

    async def one(number: int) -> None:
        if spread:
            await asyncio.sleep(number * spread / count)
        now = time.time()
        generation_id = new_id(now + ESTIMATE * chance.uniform(0.8, 1.2), number)
        await wait(generation_id, now)
        lags.append(time.time() - done_at(generation_id))

    async with AsyncExitStack() as stack:
        wait = CONTENDERS[name][1](url, stack)
        tasks = []
        for number in range(count):
            tasks.append(asyncio.ensure_future(one(number)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
    watch.cancel()
    return lags, stalls.longest


def run_here(name: str, url: str, count: int, spread: float) -> None:
    import logging

    logging.disable(logging.INFO)
    asyncio.run(drive(name, url, 1, 0))  # imports and first look-ups are not what is measured
    polls = sum(counts(url).values())
    with Meter() as meter:
        lags, stall = asyncio.run(drive(name, url, count, spread))
    polls = sum(counts(url).values()) - polls - 1
    meter.result(
        p50=percentile(lags, 0.5), p99=percentile(lags, 0.99), polls=polls / count, stall=stall, waits=len(lags)
    )


def contest(name: str, count: int, spread: float) -> dict[str, Any]:
    """The measures of one contender; what it failed of, if it can't bear so many."""
    with lean_server() as url:
        try:
            return contend(
                "benchmarks.waits", "--here", name, url, "--waits", count, "--spread", spread, url=url, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"not done after {PATIENCE} s"}
        except SystemExit as error:
            return {"failed": f"failed: {str(error).strip().splitlines()[-1][:200]}"}


def cells(one: dict[str, Any], limit: float | None) -> list[str]:
    if "failed" in one:
        return [one["failed"], *[""] * 6]
    return [
        f"{one['p50']:.2f}",
        f"{one['p99']:.2f}",
        f"{one['polls']:.2f}",
        f"{one['cpu']:.1f}",
        f"{one['cpu'] / limit:.2f}" if limit else "",
        f"{one['memory']:+.0f}",
        f"{one['stall'] * 1000:.0f}",
    ]


def compare(names: list[str], count: int, spread: float) -> None:
    found = {name: contest(name, count, spread) for name in names}
    limit = found.get("bare", {}).get("cpu")
    rows = [[CONTENDERS[name][0], *cells(one, limit)] for name, one in found.items()]
    together = f"started over {spread:.0f} s" if spread else "started at once"
    table(
        f"{count:,} waits in one process, {together}; generations of 8 to 12 s, answers after 50 ms",
        ["", "lag p50, s", "lag p99, s", "polls a wait", "CPU, s", "CPU / bare", "memory, MB", "longest stall, ms"],
        rows,
        "Aim: lag p50 ≤ 0.6 s, p99 ≤ 2.5 s, ≤ 2.5 polls, CPU ≤ 1.3 × bare, ≤ +50 MB, stall ≤ 150 ms.",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--waits", type=int, default=0, help="only this many; default: 5,000, spread too, and 20,000")
    parser.add_argument("--spread", type=float, default=0, help="start them over so many seconds")
    parser.add_argument("--only", default="", help=f"some of {','.join(CONTENDERS)}")
    parser.add_argument("--here", nargs=2, metavar=("NAME", "URL"), help="run one contender in this process")
    given = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for those who connect for each poll, and their server
    if given.here:
        run_here(*given.here, given.waits, given.spread)
        return
    names = given.only.split(",") if given.only else list(CONTENDERS)
    if given.waits:
        compare(names, given.waits, given.spread)
        return
    compare(names, 5000, 0)
    compare([name for name in names if name in ("bare", "ours")], 5000, 60)
    compare([name for name in names if name in ("bare", "ours")], 20_000, 0)


if __name__ == "__main__":
    main()
