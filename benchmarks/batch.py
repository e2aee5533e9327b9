"""A thousand images in one task: ``python -m benchmarks.batch``.

The batch operator against a bare asyncio script that makes the same calls, and keeps no ledger and checks nothing; and
against the same script with what can't be left out if an image is to be paid for once and saved whole: a fresh
connection for each purchase, a durable line before and after it, SHA-256, and an image that is on the disk before it
gets its name.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from hashlib import sha256
from inspect import unwrap
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from benchmarks.common import KEY, Meter, contend, counts, lean_server, table

SECONDS = 2.0  # of a generation
IMAGE_BYTES = 300_000
HEADERS = {"Api-Key": KEY, "Content-Type": "application/json"}
OPTIONS = {"prompt_optimization": True, "num_outputs": 1, "aspect_ratio": "16:9"}


class Bare:
    """Makes the calls, and keeps what comes."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder

    async def ask(self, session: Any, path: str, body: dict[str, Any]) -> Any:
        async with session.post(f"{self.url}/api/task/{path}", data=json.dumps(body), headers=HEADERS) as answer:
            return json.loads(await answer.read())["data"]

    async def buy(self, session: Any, request: dict[str, Any]) -> Any:
        return await self.ask(session, "create", request)

    def keep(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)

    async def one(self, session: Any, number: int, gate: asyncio.Semaphore) -> None:
        async with gate:
            request = {"prompt": f"picture {number}", "model_id": "0-24", "options": OPTIONS}
            made = await self.buy(session, request)
            await asyncio.sleep(made["estimated_time"])
            while (found := await self.ask(session, "get", {"task_id": made["task_id"]}))["status"] != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            async with session.get(found["result_urls"][0]) as answer:
                self.keep(self.folder / f"{made['task_id']}.jpeg", await answer.read())

    async def all_of_them(self, count: int, active: int) -> None:
        import aiohttp

        gate = asyncio.Semaphore(active)
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(self.one(session, number, gate) for number in range(count)))


class Careful(Bare):
    """The same with what it takes to pay once, and to save whole images."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url, folder)
        self.ledger = (folder / "ledger").open("ab")

    async def buy(self, session: Any, request: dict[str, Any]) -> Any:
        import aiohttp

        durably(self.ledger, json.dumps(request).encode())
        async with aiohttp.ClientSession() as fresh:
            made = await self.ask(fresh, "create", request)
        durably(self.ledger, json.dumps(made).encode())
        return made

    def keep(self, path: Path, content: bytes) -> None:
        sha256(content).hexdigest()
        beside = path.with_suffix(".part")
        with beside.open("wb") as file:
            durably(file, content)
        beside.rename(path)


def durably(file: Any, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def bare(url: str, folder: Path, count: int, active: int) -> None:
    asyncio.run(Bare(url, folder).all_of_them(count, active))


def careful(url: str, folder: Path, count: int, active: int) -> None:
    asyncio.run(Careful(url, folder).all_of_them(count, active))


def operator(url: str, folder: Path, count: int, active: int) -> None:
    from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator

    made = QwenImageBatchGenerateOperator(
        task_id="catalogue",
        requests=[f"picture {number}" for number in range(count)],
        output_path=str(folder),
        max_active=active,
    )
    ti = SimpleNamespace(
        dag_id="shop", run_id=f"run-{count}", task_id="catalogue", map_index=-1, try_number=1, max_tries=0
    )
    ti.xcom_push = lambda key, value: None
    unwrap(type(made).execute)(made, {"ti": ti})


CONTENDERS: dict[str, tuple[str, Callable[[str, Path, int, int], None]]] = {
    "bare": ("bare asyncio script", bare),
    "careful": ("the same, bought and saved with care", careful),
    "operator": ("`QwenImageBatchGenerateOperator`", operator),
}


def run_here(name: str, url: str, count: int, active: int) -> None:
    import logging

    logging.disable(logging.INFO)
    act = CONTENDERS[name][1]
    with tempfile.TemporaryDirectory(prefix="qwenimage-bench-") as first:
        act(url, Path(first), 1, 1)  # imports are not what is measured
    before = counts(url)
    with tempfile.TemporaryDirectory(prefix="qwenimage-bench-") as folder:
        with Meter() as meter:
            act(url, Path(folder), count, active)
        assert len(list(Path(folder).glob("*.jp*g"))) == count
    polls = counts(url)["get"] - before["get"]
    meter.result(polls=polls / count)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--active", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--here", nargs=2, metavar=("NAME", "URL"), help="run one contender in this process")
    given = parser.parse_args()
    if given.here:
        run_here(*given.here, given.images, given.active)
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(given.rounds):
        for name, runs in found.items():
            with lean_server(least=SECONDS, most=SECONDS, delay=0.02, image_bytes=IMAGE_BYTES) as url:
                arguments = ("--images", given.images, "--active", given.active)
                runs.append(contend("benchmarks.batch", "--here", name, url, *arguments, url=url))
    limit = {key: median(run[key] for run in found["bare"]) for key in ("wall", "cpu")}
    rows = []
    for name, runs in found.items():
        wall, cpu, polls = (median(run[key] for run in runs) for key in ("wall", "cpu", "polls"))
        ratios = f"{wall / limit['wall']:.2f}", f"{cpu / limit['cpu']:.2f}"
        memory = max(run["memory"] for run in runs)
        rows.append(
            [CONTENDERS[name][0], f"{wall:.1f}", ratios[0], f"{cpu:.1f}", ratios[1], f"{polls:.2f}", f"{memory:+.0f}"]
        )
    table(
        f"{given.images:,} images of {IMAGE_BYTES / 1e6:g} MB, {given.active} active, generations of {SECONDS:g} s",
        ["", "wall, s", "/ bare", "CPU, s", "/ bare", "polls an image", "memory, MB"],
        rows,
        "Aim: wall ≤ 1.15 × bare, CPU ≤ 1.5 × bare.",
    )


if __name__ == "__main__":
    main()
