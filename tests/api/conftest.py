"""One emulator for most tests, reset before each; clients of both kinds behind the same methods."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest
from api_servers import KEY, Authority

from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient
from airflow_provider_qwenimage.api.async_surroundings import trusted_certificates
from airflow_provider_qwenimage.api.client import QwenImageClient
from airflow_provider_qwenimage.api.retrying import Retries
from airflow_provider_qwenimage.api.settings import Settings
from airflow_provider_qwenimage.emulator import Emulator

OPTIONS = {"estimated_time": 10, "duration": 0, "credits": 1000, "image_size": 48, "api_key": KEY, "seed": 0}
TIME_OUTS = {"connect_timeout": 5.0, "read_timeout": 5.0}
PROXY_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
BUNDLE_NAMES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[Emulator]:
    with Emulator(**OPTIONS) as running:
        yield running


@pytest.fixture
def emulator(shared_emulator: Emulator) -> Emulator:
    """A service that has seen nothing yet; its generations are completed as soon as they are made."""
    shared_emulator.reset()
    return shared_emulator


@pytest.fixture
def own_emulator() -> Iterator[Emulator]:
    """A service for a test that leaves a purchase behind, which would be counted in the next test otherwise."""
    with Emulator(**OPTIONS) as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Callable[..., QwenImageClient]]:
    """Make worker clients; the waits between their attempts are noted in ``sleeps`` instead of slept."""
    with ExitStack() as stack:

        def make(
            base_url: str, *, key: str = KEY, sleep: Any = None, retries: Retries | None = None, **time_outs: float
        ) -> QwenImageClient:
            sleeps: list[float] = []
            settings = Settings(key, base_url, **{**TIME_OUTS, **time_outs})
            client = QwenImageClient(settings, retries=retries, sleep=sleep or sleeps.append)
            client.sleeps = sleeps
            return stack.enter_context(client)

        yield make


class Looped:
    """The client of event loops with the methods of the other: each runs the loop until it is done."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: AsyncQwenImageClient) -> None:
        self.sleeps: list[float] = []
        self.client = client
        self.run = loop.run_until_complete
        self.session = self.run(self._open())

    async def _open(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())

    def create_task(self, request: Any) -> Any:
        return self.run(self.client.create_task(self.session, request))

    def get_task(self, generation_id: str) -> Any:
        return self.run(self.client.get_task(self.session, generation_id))

    def get_credits(self) -> float:
        return self.run(self.client.get_credits(self.session))

    def close(self) -> None:
        self.run(self.session.close())


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that complains about what was left open on it."""
    complaints: list[str] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    yield loop
    loop.run_until_complete(asyncio.sleep(0))
    gc.collect(1)  # the young objects: what this test has made
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert not complaints


@pytest.fixture
def connect_async(loop: asyncio.AbstractEventLoop) -> Iterator[Callable[..., Looped]]:
    """Make clients of an event loop, in the same way as ``connect``."""
    made: list[Looped] = []

    def make(
        base_url: str, *, key: str = KEY, sleep: Any = None, retries: Retries | None = None, **time_outs: float
    ) -> Looped:
        async def note(seconds: float) -> None:
            client.sleeps.append(seconds)
            if sleep is not None:
                sleep(seconds)

        settings = Settings(key, base_url, **{**TIME_OUTS, **time_outs})
        client = Looped(loop, AsyncQwenImageClient(settings, retries=retries, sleep=note))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture(params=["connect", "connect_async"])
def either(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Make clients of one kind in one run of the test and of the other in the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of our own, with a certificate for 127.0.0.1 and qwenimage.test."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set environment variables, with no proxies and no CA bundle but those."""
    for name in (*PROXY_NAMES, *map(str.upper, PROXY_NAMES), *BUNDLE_NAMES):
        monkeypatch.delenv(name, raising=False)

    def set_all(**variables: str) -> None:
        trusted_certificates.cache_clear()
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    yield set_all
    trusted_certificates.cache_clear()
