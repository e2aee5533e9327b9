"""Downloads to disk, a large one and many small ones: ``python -m benchmarks.saving``.

curl and a bare aiohttp loop only write what arrives. Ours also hash it, and check that it is a whole image; the bare
loop with SHA-256 shows what the hash alone costs.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from statistics import median

from benchmarks.common import Meter, contend, lean_server, table

AT_A_TIME = 4
ROUNDS = 3


def curl(urls: list[str], folder: Path) -> None:
    config = "".join(f'url = "{url}"\noutput = "{folder / str(number)}"\n' for number, url in enumerate(urls))
    command = ["curl", "--silent", "--fail", "--parallel", "--parallel-max", str(AT_A_TIME), "--config", "-"]
    subprocess.run(command, input=config, text=True, check=True)


def bare(urls: list[str], folder: Path, *, hashing: bool = False) -> None:
    import aiohttp

    async def one(session: aiohttp.ClientSession, number: int, url: str, gate: asyncio.Semaphore) -> None:
        async with gate, session.get(url) as answer:
            digest = sha256()
            with (folder / str(number)).open("wb") as file:
                async for piece in answer.content.iter_any():
                    file.write(piece)
                    if hashing:
                        digest.update(piece)

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(AT_A_TIME)
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(one(session, number, url, gate) for number, url in enumerate(urls)))

    asyncio.run(all_of_them())


def bare_with_hash(urls: list[str], folder: Path) -> None:
    bare(urls, folder, hashing=True)


def worker(urls: list[str], folder: Path) -> None:
    from airflow_provider_qwenimage.api.download import Downloader

    downloader = Downloader()

    def one(number: int, url: str) -> None:
        with (folder / str(number)).open("w+b") as file:
            downloader.fetch(url, file)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(one, range(len(urls)), urls))


def loop(urls: list[str], folder: Path) -> None:
    from airflow_provider_qwenimage.api.async_download import AsyncDownloader
    from airflow_provider_qwenimage.api.async_session import open_session

    async def all_of_them() -> None:
        downloader, gate = AsyncDownloader(), asyncio.Semaphore(AT_A_TIME)

        async def one(number: int, url: str) -> None:
            async with gate:
                with (folder / str(number)).open("w+b") as file:
                    await downloader.fetch(session, url, file)

        async with open_session() as session:
            await asyncio.gather(*(one(number, url) for number, url in enumerate(urls)))

    asyncio.run(all_of_them())


CONTENDERS: dict[str, tuple[str, Callable[[list[str], Path], None]]] = {
    "curl": ("curl", curl),
    "bare": ("bare aiohttp", bare),
    "hash": ("bare aiohttp with SHA-256", bare_with_hash),
    "worker": ("`Downloader`, in threads", worker),
    "loop": ("`AsyncDownloader`", loop),
}


def run_here(name: str, url: str, count: int, size: int) -> None:
    act = CONTENDERS[name][1]
    with tempfile.TemporaryDirectory(prefix="qwenimage-bench-") as folder:
        act([f"{url}/image/first.jpeg?bytes=1000"], Path(folder))  # imports are not what is measured
        with Meter() as meter:
            act([f"{url}/image/{number}.jpeg?bytes={size}" for number in range(count)], Path(folder))
        sizes = {(Path(folder) / str(number)).stat().st_size for number in range(count)}
    assert sizes == {size}
    meter.result()


def compare(count: int, size: int) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    with lean_server() as url:
        for _ in range(ROUNDS):
            for name in CONTENDERS:
                found[name].append(contend("benchmarks.saving", "--here", name, url, "--sizes", f"{count}x{size}"))
    wall = {name: median(one["wall"] for one in runs) for name, runs in found.items()}
    rows = [
        [
            CONTENDERS[name][0],
            f"{count * size / wall[name] / 1e6:.0f}",
            f"{wall['curl'] / wall[name]:.2f}",
            f"{wall['bare'] / wall[name]:.2f}",
            f"{median(one['cpu'] for one in runs):.2f}",
            f"{max(one['memory'] for one in runs):+.0f}" if name != "curl" else "",
        ]
        for name, runs in found.items()
    ]
    table(
        f"{count} × {size / 1e6:g} MB to disk, {AT_A_TIME} at a time; medians of {ROUNDS}",
        ["", "MB/s", "/ curl", "/ bare aiohttp", "CPU, s", "memory, MB"],
        rows,
        "Aim: ≥ 0.9 × the throughput of both; memory ≤ +32 MB whatever the size.",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="1x200000000,500x300000", help="count x bytes, separated by commas")
    parser.add_argument("--here", nargs=2, metavar=("NAME", "URL"), help="run one contender in this process")
    given = parser.parse_args()
    for one in given.sizes.split(","):
        count, size = map(int, one.split("x"))
        if given.here:
            run_here(*given.here, count, size)
        else:
            compare(count, size)


if __name__ == "__main__":
    main()
