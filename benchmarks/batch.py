"""A thousand images in one task: ``python -m benchmarks.batch``.

The batch operator against a bare asyncio script that makes the same calls, and keeps no ledger and checks nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable
from inspect import unwrap
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from benchmarks.common import KEY, Meter, contend, counts, lean_server, table

SECONDS = 2.0  # of a generation
IMAGE_BYTES = 300_000


def bare(url: str, folder: Path, count: int, active: int) -> None:
    import aiohttp

    headers = {"Api-Key": KEY, "Content-Type": "application/json"}
    options = {"prompt_optimization": True, "num_outputs": 1, "aspect_ratio": "16:9"}

    async def ask(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> Any:
        async with session.post(f"{url}/api/task/{path}", data=json.dumps(body), headers=headers) as answer:
            return json.loads(await answer.read())["data"]

    async def one(session: aiohttp.ClientSession, number: int, gate: asyncio.Semaphore) -> None:
        async with gate:
            request = {"prompt": f"picture {number}", "model_id": "0-24", "options": options}
            made = await ask(session, "create", request)
            await asyncio.sleep(made["estimated_time"])
            while (found := await ask(session, "get", {"task_id": made["task_id"]}))["status"] != 2:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
            async with session.get(found["result_urls"][0]) as answer:
                (folder / f"{made['task_id']}.jpeg").write_bytes(await answer.read())

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(active)
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(one(session, number, gate) for number in range(count)))

    asyncio.run(all_of_them())


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
