"""A task that has to end while it saves images does so soon: whole images stay, halves do not, no thread goes on."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_servers import Server, http
from dags_made_here import Bench, files_in

from airflow_provider_qwenimage._compat import object_storage_path
from airflow_provider_qwenimage.api.download import Downloader
from airflow_provider_qwenimage.api.retrying import NO_RETRIES, Retries
from airflow_provider_qwenimage.emulator import Emulator, pictures
from airflow_provider_qwenimage.saving import images
from airflow_provider_qwenimage.saving.images import Delivery, save_images

try:
    from airflow.sdk.exceptions import AirflowTaskTimeout
except ImportError:
    from airflow.exceptions import AirflowTaskTimeout

PNG = pictures.sample("png")
IMAGE = http(200, PNG, Content_Type="image/png")
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PNG) + PNG[: len(PNG) // 2]


class Ended(BaseException):
    """What a signal raises, as Airflow's do."""


@pytest.fixture
def end_the_task() -> Iterator[Callable[[], None]]:
    """Raise in the main thread, once."""
    said = threading.Event()

    def handle(*_: Any) -> None:
        raise Ended

    def act() -> None:
        if not said.is_set():
            said.set()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handle)
    yield act
    signal.signal(signal.SIGUSR1, before)


def save(urls: list[str], folder: Path, **options: Any) -> Any:
    delivery = Delivery(object_storage_path(str(folder)), "{index}.{ext}", "abc")
    return save_images(urls, delivery, Downloader(**options))


def savers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("qwenimage-save")]


def test_slow_downloads_do_not_hold_a_task_that_ends(end_the_task: Callable[[], None], tmp_path: Path) -> None:
    """Of seven images one is there and stays, four are on their way and end, two are never asked for."""

    began = time.monotonic()

    def stuck(connection: Any) -> None:
        connection.sendall(HALF)
        while not server.wait(0.02):
            if len(server.requests) == 5 and list(tmp_path.glob("?.png")):
                end_the_task()

    with Server(IMAGE, stuck) as server:
        with pytest.raises(Ended):
            save([f"{server.url}/{number}.png" for number in range(7)], tmp_path, time_limit=30, retries=NO_RETRIES)
        assert time.monotonic() - began < 15
        for thread in savers():
            thread.join(5)
        assert savers() == []
        assert len(server.requests) == 5
    assert list(files_in(tmp_path).values()) == [PNG]


def test_waits_between_attempts_do_not_hold_it(
    end_the_task: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image's host that asks for patience is not waited for."""
    monkeypatch.setattr(Retries, "_wait", lambda self, state: 10.0)

    def busy(connection: Any) -> None:
        connection.sendall(http(503))
        end_the_task()

    with Server(busy, IMAGE) as server:
        with pytest.raises(Ended):
            save([server.url], tmp_path)
        assert len(server.requests) == 1
    assert files_in(tmp_path) == {}


def test_an_image_that_is_being_stored_gets_there(
    end_the_task: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is whole, and there is a little time for it."""
    store = images.store

    def stored(*given: Any) -> None:
        end_the_task()
        store(*given)

    monkeypatch.setattr(images, "store", stored)
    with Server(IMAGE) as server, pytest.raises(Ended):
        save([server.url], tmp_path)
    assert files_in(tmp_path) == {"0.png": PNG}


def test_a_storage_that_is_stuck_does_not_hold_it(
    end_the_task: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Little time, not all time: a storage can't be broken off, and is left behind."""
    goes_on, store = threading.Event(), images.store

    def stuck(*given: Any) -> None:
        end_the_task()
        goes_on.wait(20)
        store(*given)

    monkeypatch.setattr(images, "store", stuck)
    monkeypatch.setattr("airflow_provider_qwenimage.saving.threads.GRACE", 0.1)
    with Server(IMAGE) as server, pytest.raises(Ended):
        save([server.url], tmp_path)
    left = savers()
    assert len(left) == 1
    assert files_in(tmp_path) == {}
    goes_on.set()
    left[0].join(5)
    assert files_in(tmp_path) == {"0.png": PNG}


def test_execution_timeout_bounds_the_saving(bench: Bench, service: Emulator, tmp_path: Path) -> None:
    """In Airflow: images that come slowly are not there when the task is over, and nothing is asked for again."""
    service.plan("image", "slow", bytes=50, pause=0.5, times=100)
    with suppress(AirflowTaskTimeout):  # it gets as far as this on 2.11, where it is no Exception
        run = bench.generate(num_outputs=2, output_path=str(tmp_path), execution_timeout=timedelta(seconds=4))
        assert isinstance(run.error("gen"), AirflowTaskTimeout)
    assert files_in(tmp_path) == {}
    assert service.report()["requests"]["image"] <= 2
    assert service.report()["bought"] == 1
