"""A service that lies: where its URLs lead, how long its answers are, what its ids and words hold.

Broken HTTP, endless redirects, result URLs that lead inside, and the fuzzing of replies and of images are in
``tests/api``.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import bought, creates, whole_image
from api_servers import Server, envelope, http
from dags_made_here import Bench
from reliability_tries import generating

from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.api.client import QwenImageClient
from airflow_provider_qwenimage.api.download import Downloader
from airflow_provider_qwenimage.api.images import inspect
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.api.settings import Settings
from airflow_provider_qwenimage.emulator import Emulator, pictures

pytestmark = pytest.mark.usefixtures("quick")
PICTURE = http(200, pictures.sample("png"), Content_Type="image/png")


def fetch(url: str, **arguments: Any) -> Any:
    return Downloader(**{"public_only": True, "retries": NO_RETRIES, **arguments}).fetch(url, io.BytesIO())


@pytest.fixture
def inner() -> Iterator[Server]:
    """A server in the network that the worker stands in; nobody outside may make the worker call it."""
    with Server(PICTURE) as server:
        yield server


# Where URLs lead


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.com/a.png", "//example.com/a", "data:,x", 7])
def test_result_urls_of_another_scheme_are_no_answer(url: Any, bench: Bench, service: Emulator):
    """A reply with such URLs is not understood; the wait goes on until its time is over."""
    service.plan("get", "data", set={"result_urls": [url]}, times=1000)
    tries = generating(bench, timeout=0.5)
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.GenerationTimeoutError)
    assert "result_urls" in str(tries.error)


@pytest.mark.parametrize("base_url", ["https://api.pixwith.ai", "https://93.184.216.34"])
def test_a_public_service_may_not_name_private_results(
    bench: Bench, service: Emulator, inner: Server, base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In a task: with a public base URL a private result ends the task for good, and nothing inside is called."""
    monkeypatch.setattr("airflow_provider_qwenimage.hooks.QwenImageHook.is_private_service", lambda self: False)
    service.plan("get", "data", set={"result_urls": [f"{inner.url}/a.png"]}, times=1000)
    tries = generating(bench, output_path=str(tmp_path))
    assert tries.next() == "failed"
    assert isinstance(tries.error, errors.ForbiddenHostError)
    assert inner.requests == []


def test_a_private_service_may(bench: Bench, service: Emulator, inner: Server, tmp_path: Path):
    """Whoever sets a private base URL, for an emulator or a gateway, trusts it with private results."""
    service.plan("get", "data", set={"result_urls": [f"{inner.url}/a.png"]}, times=1000)
    tries = generating(bench, output_path=str(tmp_path))
    assert tries.next() == "success"
    assert len(inner.requests) == 1


# How long answers are

BOMBS = {
    "gzip": (gzip.compress(bytes(300_000_000), 9), "gzip"),
    "gzip in gzip": (gzip.compress(gzip.compress(bytes(300_000_000), 9), 9), "gzip, gzip"),
    "deflate": (zlib.compress(bytes(300_000_000), 9), "deflate"),
}
LIMIT = 100 * 1024  # KB that a client's memory may grow by


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("who", ["image", "image-in-loop", "worker", "triggerer"])
def test_a_decompression_bomb_is_refused(name: str, who: str):
    """Some kilobytes that unpack to 300 MB are an error of ours, in little memory, for images and for replies."""
    body, encoding = BOMBS[name]
    with Server(http(200, body, Content_Encoding=encoding, Content_Type="application/json")) as server:
        script = Path(__file__).with_name("reliability_bomb.py")
        command = [sys.executable, str(script), who, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    kind, _, grown = done.stdout.strip().partition(" ")
    # Only one layer is unpacked: of two, it finds no image.
    refusals = ("ImageTooLongError", "ImageDownloadError", "BrokenImageError", "UnexpectedReplyError", "ServiceError")
    assert kind in refusals
    assert int(grown) < LIMIT


def test_the_measure_of_memory_works():
    """The tests above would see a bomb go off: the kernel counts in KB here."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    content = bytearray(b"x" * 50_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
    assert len(content) == 50_000_000


@pytest.mark.parametrize("chunked", [False, True])
def test_an_image_without_end_is_cut(chunked: bool, start: Callable[..., Emulator]):
    """More bytes than max_bytes are not stored, whether the length is told or not."""
    emulator = start()
    emulator.plan("image", "oversized", bytes=5_000_000, chunked=chunked)
    client = QwenImageClient(Settings(emulator.api_key, emulator.url))
    from airflow_provider_qwenimage.api.models import GenerationRequest

    generation = client.get_task(client.create_task(GenerationRequest(prompt="a kite")).generation_id)
    with pytest.raises(errors.BrokenImageError, match="longer than"):
        fetch(generation.result_urls[0], public_only=False, max_bytes=1_000_000)


def claims(width: int, height: int) -> dict[str, bytes]:
    """Whole small files that claim to be giant pictures."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    w, h = (min(side, 65_535).to_bytes(2, "big") for side in (width, height))
    jpeg = b"\xff\xd8\xff\xc0\x00\x0b\x08" + h + w + b"\x01\x01\x11\x00\xff\xda\x00\x02x\xff\xd9"
    side = [(min(each, 1 << 24) - 1).to_bytes(3, "little") for each in (width, height)]
    vp8x = b"VP8X" + (10).to_bytes(4, "little") + bytes(4) + side[0] + side[1]
    webp = b"RIFF" + (4 + len(vp8x)).to_bytes(4, "little") + b"WEBP" + vp8x
    return {"png": png, "jpeg": jpeg, "webp": webp}


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_giant_picture_is_refused(kind: str):
    """A small file that claims billions of pixels would fill the memory of whoever opens it: it is not saved."""
    assert inspect(io.BytesIO(claims(100, 100)[kind])).width == 100
    with pytest.raises(errors.BrokenImageError, match="pixels"):
        inspect(io.BytesIO(claims(60_000, 60_000)[kind]))


@pytest.mark.parametrize("endpoint", ["create", "get"])
def test_a_reply_without_end_is_cut(endpoint: str, bench: Bench, service: Emulator):
    """A reply of 50 MB is an error, not memory: unknown outcome for a create, a failed poll for a get."""
    service.plan(endpoint, "oversized", bytes=50_000_000, chunked=True)
    tries = generating(bench)
    state = tries.next()
    if endpoint == "get":
        assert state == "success"
    else:
        assert state == "failed"
        assert isinstance(tries.error, errors.UnknownOutcomeError)


# What ids and words hold

EVIL_IDS = [
    "../../../etc/cron.d/evil",
    "/etc/passwd",
    "..",
    "a/../../b",
    "a\\..\\b",
    "x\ny\x1b[31m",
    "." * 300,
    "é" * 300,
]


@pytest.mark.parametrize("generation_id", EVIL_IDS)
def test_an_id_can_not_leave_the_folder_nor_lose_the_image(
    generation_id: str, tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
):
    """Whatever the service calls a generation, its image is saved below output_path: it is paid for."""
    with Server(PICTURE) as storage:
        created = http(200, envelope({"task_id": generation_id, "estimated_time": 1}))
        done = http(200, envelope({"task_id": generation_id, "status": 2, "result_urls": [f"{storage.url}/a.png"]}))
        with Server(created, done) as service:
            monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", f"qwenimage://http://:key@127.0.0.1:{service.port}")
            folder = tmp_path / "in" / "here"
            tries = generating(bench, output_path=str(folder), sidecar=True)
            assert tries.next() == "success", tries.errors
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(folder in path.parents for path in files)
    (path,) = tries.xcom()
    assert whole_image(path)
    assert tries.xcom("images")[0]["generation_id"] == generation_id


@pytest.mark.parametrize(
    "file_name",
    [
        "../{generation_id}_{index}.{ext}",
        "/etc/{index}",
        "a/../../{index}",
        "..",
        "{generation_id.__class__}",
        "{x}",
        "a\nb{index}",
    ],
)
def test_a_file_name_that_leaves_the_folder_buys_nothing(
    file_name: str, bench: Bench, service: Emulator, tmp_path: Path
):
    """A template is checked before anything is bought."""
    tries = generating(bench, output_path=str(tmp_path))
    tries.change(file_name=file_name)  # as a template would render; a literal fails when the DAG is parsed
    assert tries.next() == "failed"
    assert isinstance(tries.error, errors.InvalidRequestError)
    assert creates(service) == 0


def test_a_rendered_file_name_that_leaves_the_folder_buys_nothing(bench: Bench, service: Emulator, tmp_path: Path):
    """The same for what a template of Airflow's renders to."""
    tries = generating(bench, output_path=str(tmp_path), file_name="{{ '../' * 3 }}x_{index}.{ext}")
    assert tries.next() == "failed"
    assert creates(service) == 0


@pytest.mark.parametrize(
    "prompt", ["../../etc/passwd", "a\0b", "{generation_id.__class__}{0}", "x" * 20_000, "\x1b[2J\n\x07."]
)
def test_a_prompt_is_no_part_of_a_path(prompt: str, bench: Bench, service: Emulator, tmp_path: Path):
    """Whatever a prompt holds, the file's name comes from the generation."""
    folder = tmp_path / "in" / "here"
    tries = generating(bench, prompt=prompt, output_path=str(folder), sidecar=True, embed_metadata=True)
    assert tries.next() == "success"
    assert all(folder in path.parents for path in tmp_path.rglob("*") if path.is_file())
    assert whole_image(tries.xcom()[0])
    sidecar = Path(tries.xcom()[0] + ".json")
    assert json.loads(sidecar.read_text())["prompt"] == prompt


EVIL_WORDS = "no\n[2026-01-01 00:00:00] {taskinstance.py:1} INFO - Marking task as SUCCESS\r\x1b[31m\x00\u202e\u2028"


@pytest.mark.parametrize(
    "faults",
    [
        [{"endpoint": "create", "kind": "refuse", "message": EVIL_WORDS}],
        [{"endpoint": "get", "kind": "refuse", "message": EVIL_WORDS, "times": 3}],
        [{"endpoint": "create", "kind": "http_error", "status": 500, "message": EVIL_WORDS}],
        [{"endpoint": "get", "kind": "http_error", "status": 400, "message": EVIL_WORDS, "times": 3}],
        [{"endpoint": "get", "kind": "data", "set": {"status": EVIL_WORDS}, "times": 3}],
        [{"endpoint": "create", "kind": "data", "set": {"task_id": "id" + EVIL_WORDS}}],
        [{"endpoint": "get", "kind": "data", "set": {"result_urls": ["http://" + EVIL_WORDS]}, "times": 3}],
        [{"endpoint": "image", "kind": "http_error", "status": 404, "message": EVIL_WORDS}],
    ],
    ids=lambda faults: "-".join(str(value) for value in list(faults[0].values())[:2]),
)
@pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
def test_words_of_the_service_reach_the_log_on_one_line(
    faults: list[dict[str, Any]],
    deferrable: bool,
    bench: Bench,
    service: Emulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    """No message, status, id or URL of the service forges a line of the log or colours it."""
    said = Said(monkeypatch)
    service.state.plan(*faults)
    tries = generating(bench, output_path=str(tmp_path), deferrable=deferrable, timeout=3)
    tries.next()
    said.extend(str(error) for error in tries.errors)
    lines = [line for line in said if "forge" in line or "Marking" in line or "2026-01-01" in line]
    assert [line for line in lines if not line.isprintable()] == []
    assert said


class Said(list[str]):
    """Every message that our code logs, as it would be printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        from airflow_provider_qwenimage import purchase, worker_wait

        for kind, place in ((purchase.Purchase, 5), (worker_wait._Progress, 1)):
            known = kind.__init__

            def init(self_: Any, *given: Any, _known: Any = known, **more: Any) -> None:
                if "log" in more:
                    more["log"] = Listening(more["log"], self)
                else:
                    given = (*given[:-1], Listening(given[-1], self))
                _known(self_, *given, **more)

            monkeypatch.setattr(kind, "__init__", init)
            assert place
        known_wait = worker_wait.wait
        monkeypatch.setattr(
            worker_wait,
            "wait",
            lambda settings, plan, stop, log: known_wait(settings, plan, stop, Listening(log, self)),
        )


class Listening:
    """A logger that also keeps what it is told."""

    def __init__(self, log: Any, said: list[str]) -> None:
        self._log, self._said = log, said

    def __getattr__(self, name: str) -> Any:
        def tell(message: str, *values: Any, **more: Any) -> None:
            self._said.append(message % values if values else message)
            getattr(self._log, name)(message, *values, **more)

        return tell


def test_nothing_is_bought_for_a_wrong_key_in_the_logs(bench: Bench, service: Emulator, caplog: Any):
    """The key is in no message, also where the service repeats it."""
    with caplog.at_level(logging.DEBUG):
        service.plan("create", "refuse", message=f"bad key {service.api_key}")
        tries = generating(bench)
        assert tries.next() == "failed"
    assert service.api_key not in str(tries.error)
    assert bought(service) == 0
