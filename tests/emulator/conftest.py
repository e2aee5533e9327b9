"""One emulator for most tests, reset before each; its clock stands still until a test moves it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests
from PIL import Image

from airflow_provider_qwenimage.emulator import Emulator

DURATION = 10


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


class Caller:
    """Somebody who uses an emulator as the contract says."""

    def __init__(self, emulator: Emulator, clock: Clock) -> None:
        self.emulator = emulator
        self.clock = clock
        self.headers = {"Api-Key": emulator.api_key, "Content-Type": "application/json"}

    def post(self, endpoint: str, body: Any = None, **options: Any) -> requests.Response:
        url = f"{self.emulator.url}/api/task/{endpoint}"
        return requests.post(url, **{"json": body, "headers": self.headers, "timeout": 10, **options})

    def data(self, endpoint: str, body: Any = None) -> dict[str, Any]:
        answer = self.post(endpoint, body).json()
        assert answer["code"] == 1, answer
        return answer["data"]

    def create(self, prompt: str = "a lighthouse", *, image_url: str | None = None, num_outputs: int = 1) -> str:
        return self.data("create", self.order(prompt, image_url=image_url, num_outputs=num_outputs))["task_id"]

    def get(self, generation_id: str) -> dict[str, Any]:
        return self.data("get", {"task_id": generation_id})

    def generate(self, prompt: str = "a lighthouse", **options: Any) -> list[str]:
        generation_id = self.create(prompt, **options)
        self.clock.move(DURATION)
        return self.get(generation_id)["result_urls"]

    def upload(self, content: bytes, name: str = "photo.png", content_type: str = "image/png") -> str:
        answer = self.data("pre_url", {"image_name": name, "content_type": content_type})
        form = answer["upload_url"]
        done = requests.post(form["url"], data=form["fields"], files={"file": (name, content)}, timeout=10)
        assert done.status_code == 204, done.text
        return answer["image_url"]

    @staticmethod
    def order(prompt: str = "a lighthouse", *, image_url: str | None = None, num_outputs: int = 1) -> dict[str, Any]:
        options: dict[str, Any] = {"prompt_optimization": True, "num_outputs": num_outputs}
        if image_url is not None:
            return {"prompt": prompt, "image_urls": [image_url], "model_id": "0-24", "options": options}
        return {"prompt": prompt, "model_id": "0-24", "options": {**options, "aspect_ratio": "16:9"}}


@pytest.fixture(scope="session")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def shared(clock: Clock) -> Iterator[Emulator]:
    with Emulator(estimated_time=DURATION, duration=DURATION, image_size=64, clock=clock, seed=0) as emulator:
        yield emulator


@pytest.fixture
def emulator(shared: Emulator) -> Emulator:
    shared.reset()
    return shared


@pytest.fixture
def caller(emulator: Emulator, clock: Clock) -> Caller:
    return Caller(emulator, clock)


@pytest.fixture
def start(clock: Clock) -> Iterator[Callable[..., Caller]]:
    """Start an emulator with other options."""
    with ExitStack() as stack:

        def start_one(**options: Any) -> Caller:
            settings = {"duration": DURATION, "image_size": 64, "clock": clock, "seed": 0, **options}
            return Caller(stack.enter_context(Emulator(**settings)), clock)

        yield start_one


@pytest.fixture(scope="session")
def photo() -> bytes:
    """A PNG that is red on the left and blue on the right."""
    image = Image.new("RGB", (80, 40), (255, 0, 0))
    image.paste((0, 0, 255), (40, 0, 80, 40))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
