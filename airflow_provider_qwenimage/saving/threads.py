"""Threads that save images, and that a task which has to end does not wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from airflow_provider_qwenimage.api.download import Downloader

AT_A_TIME = 4
GRACE = 5.0  # seconds that an image which is being stored has to get there


class Threads:
    """A pool of threads, as a context manager.

    Airflow raises out of a signal handler when ``execution_timeout`` is over or a task is terminated. The exception
    strikes the main thread, which waits here, while the others know nothing of it: a slow download would hold the task
    for minutes. So an exception that leaves the context ends the downloads and waits for ``GRACE`` seconds at most.

    :param downloader: what the threads fetch with; it is stopped then.
    """

    def __init__(self, downloader: Downloader) -> None:
        self._downloader = downloader
        self._pool = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="qwenimage-save")
        self._given: list[Future[Any]] = []

    def each(self, save: Callable[[int, str], Any], urls: Sequence[str]) -> list[Any]:
        """Call ``save`` with the number and the URL of each image, ``AT_A_TIME`` at a time; return what it returns."""
        for index, url in enumerate(urls):
            self._given.append(self._pool.submit(save, index, url))
        return [future.result() for future in self._given]

    def __enter__(self) -> Threads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._pool.shutdown()
            return
        self._downloader.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)
        wait([future for future in self._given if not future.cancelled()], timeout=GRACE)
