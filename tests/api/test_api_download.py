"""Images are fetched whole or not at all, with their URLs unchanged and without the API key."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from api_servers import KEY, NAME, Authority, Proxy, Server, closed_port, http
from PIL import Image

from airflow_provider_qwenimage.api.async_download import HELD, AsyncDownloader
from airflow_provider_qwenimage.api.async_session import open_session
from airflow_provider_qwenimage.api.download import Downloader
from airflow_provider_qwenimage.api.downloading import shown
from airflow_provider_qwenimage.api.errors import (
    BrokenImageError,
    ImageDownloadError,
    ImageError,
    ImageGoneError,
    ImageTooLongError,
    InvalidRequestError,
    InvalidSettingsError,
)
from airflow_provider_qwenimage.api.images import inspect
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.api.retrying import NO_RETRIES, Retries
from airflow_provider_qwenimage.emulator import Emulator


def png() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 9), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


PNG = png()
IMAGE = http(200, PNG, Content_Type="image/png")


@pytest.fixture(params=["worker", "loop"])
def download(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """Fetch a URL into a file: in one run of the test with the worker's downloader, in the other with the loop's."""

    async def in_loop(url: str, file: Any, sleep: Callable[[float], None], options: dict[str, Any]) -> Any:
        async def note(seconds: float) -> None:
            sleep(seconds)

        async with open_session() as session:
            return await AsyncDownloader(sleep=note, **options).fetch(session, url, file)

    def act(url: str, file: Any, sleep: Callable[[float], None] = lambda _: None, **options: Any) -> Any:
        if request.param == "worker":
            return Downloader(sleep=sleep, **options).fetch(url, file)
        return loop.run_until_complete(in_loop(url, file, sleep, options))

    return act


@pytest.fixture
def fetch(download: Any) -> Callable[..., Any]:
    """Fetch a URL: what was downloaded, the file's bytes, and the waits between attempts."""

    def act(url: str, **options: Any) -> tuple[Any, bytes, list[float]]:
        sleeps: list[float] = []
        file = io.BytesIO(b"what was there before, longer than the image" * 1000)
        downloaded = download(url, file, sleeps.append, timeout=5, **options)
        return downloaded, file.getvalue(), sleeps

    return act


@pytest.fixture
def urls(emulator: Emulator, connect: Any) -> list[str]:
    """Two results of one generation."""
    client = connect(emulator.url)
    submission = client.create_task(GenerationRequest(prompt="a lighthouse", num_outputs=2))
    return list(client.get_task(submission.generation_id).result_urls)


def failed(act: Callable[..., Any], *arguments: Any, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        act(*arguments, **options)
    assert "already paid for" in str(caught.value)
    return caught.value


def image_requests(emulator: Emulator) -> int:
    return emulator.report()["requests"]["image"]


# From the emulator


def test_an_image_is_fetched(emulator: Emulator, urls: list[str], fetch: Any) -> None:
    """Its bytes, their number, their SHA-256 and the image's facts are right; nothing of the old file is left."""
    for url in urls:
        downloaded, content, sleeps = fetch(url)
        assert downloaded.bytes == len(content)
        assert downloaded.sha256 == hashlib.sha256(content).hexdigest()
        assert downloaded.facts == inspect(io.BytesIO(content))
        with Image.open(io.BytesIO(content)) as picture:
            assert (downloaded.facts.width, downloaded.facts.height) == picture.size
        assert sleeps == []
    assert emulator.report()["images_served"] == 2


def test_no_key_and_the_url_unchanged(emulator: Emulator, urls: list[str], fetch: Any) -> None:
    """The image host sees a plain GET with the signature as it was, and no API key."""
    fetch(urls[0])
    entry = emulator.requests()[-1]
    assert entry["method"] == "GET"
    assert not entry["api_key_present"]
    assert f"{emulator.url}{entry['path']}?{entry['query']}" == urls[0]
    assert KEY not in str(entry["headers"])
    assert emulator.report()["violations"] == []


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("truncated_image", {}),
        ("truncated_image", {"keep": 0}),
        ("truncated_image", {"keep": 0.99}),
        ("mislabelled", {"actual": "html"}),
        ("truncated", {}),
        ("close_before", {}),
        ("close_after", {}),
        ("html", {"status": 200}),
        *[("http_error", {"status": status}) for status in (500, 502, 503, 504, 429, 408, 425)],
    ],
)
def test_what_may_mend_is_tried_again(
    emulator: Emulator, urls: list[str], fetch: Any, kind: str, parameters: dict[str, Any]
) -> None:
    """After three broken downloads the fourth is whole, and nothing of them is left in the file."""
    emulator.plan("image", kind, times=3, **parameters)
    downloaded, content, sleeps = fetch(urls[0])
    assert downloaded.sha256 == hashlib.sha256(content).hexdigest()
    assert inspect(io.BytesIO(content)) == downloaded.facts
    assert image_requests(emulator) == 4
    # A GET whose connection is closed without an answer, aiohttp sends once more by itself.
    assert len(sleeps) in ({1, 3} if kind in {"close_before", "close_after"} else {3})


@pytest.mark.parametrize(
    ("kind", "parameters", "expected"),
    [
        ("truncated_image", {}, BrokenImageError),
        ("mislabelled", {"actual": "html"}, BrokenImageError),
        ("truncated", {}, ImageDownloadError),
        ("close_before", {}, ImageDownloadError),
        ("http_error", {"status": 500}, ImageDownloadError),
    ],
)
def test_attempts_come_to_an_end(
    emulator: Emulator, urls: list[str], fetch: Any, kind: str, parameters: dict[str, Any], expected: type
) -> None:
    """The last error is raised, and says that the image can be fetched again for free."""
    emulator.plan("image", kind, times=10, **parameters)
    error = failed(fetch, urls[0], retries=Retries(attempts=3))
    assert type(error) is expected
    assert error.retry_safe
    assert image_requests(emulator) in ({3, 6} if kind == "close_before" else {3})  # 6: see above


def test_a_mislabelled_image_is_known_by_its_content(emulator: Emulator, urls: list[str], fetch: Any) -> None:
    """A PNG that is served as JPEG is a PNG."""
    emulator.plan("image", "mislabelled", actual="png")
    assert urls[0].partition("?")[0].endswith(".jpeg")
    assert fetch(urls[0])[0].facts.format.extension == "png"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_url_that_is_gone_is_not_tried_again(emulator: Emulator, urls: list[str], fetch: Any, status: int) -> None:
    """One request; the error gives the status and advice."""
    emulator.plan("image", "http_error", status=status, times=10)
    error = failed(fetch, urls[0])
    assert type(error) is ImageGoneError
    assert error.http_status == status
    assert "save images soon" in str(error)
    assert image_requests(emulator) == 1


def test_a_changed_signature_is_gone(emulator: Emulator, urls: list[str], fetch: Any) -> None:
    """The emulator's signature check answers 403."""
    assert type(failed(fetch, urls[0] + "0")) is ImageGoneError


def test_retry_after_is_honoured(emulator: Emulator, urls: list[str], fetch: Any) -> None:
    """An image host may ask for patience too."""
    emulator.plan("image", "http_error", status=503, retry_after=7)
    assert fetch(urls[0])[2] == [7]


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX: "])
def test_headers_that_trickle_end_at_the_time_limit(fetch: Any, start: bytes) -> None:
    """Nor do headers, those of a redirect's target included."""

    def trickle(connection: socket.socket) -> None:
        connection.sendall(start)
        while not server.wait(0.05):
            connection.sendall(b"x")

    with Server(http(302, b"", Location="/there"), trickle) as server:
        began = time.monotonic()
        error = failed(fetch, server.url, time_limit=0.3, retries=NO_RETRIES)
        assert time.monotonic() - began < 2
        assert type(error) is ImageDownloadError
        assert "no answer in time" in error.message


def test_a_slow_image_ends_at_the_time_limit(emulator: Emulator, urls: list[str], fetch: Any) -> None:
    """Bytes that keep coming do not keep a download alive beyond its limit."""
    emulator.plan("image", "slow", bytes=10, pause=0.05)
    start = time.monotonic()
    error = failed(fetch, urls[0], time_limit=0.3, retries=NO_RETRIES)
    assert 0.3 <= time.monotonic() - start < 2
    assert type(error) is ImageDownloadError
    assert "no answer in time" in error.message


def test_an_image_that_is_too_long(emulator: Emulator, urls: list[str], fetch: Any) -> None:
    """It is cut off as soon as it is, with or without a length told beforehand."""
    size = fetch(urls[0])[0].bytes
    assert fetch(urls[0], max_bytes=size)[0].bytes == size
    error = failed(fetch, urls[0], max_bytes=size - 1)
    assert type(error) is ImageTooLongError
    assert f"longer than {size - 1:,} bytes" in error.message
    for chunked in (False, True):
        emulator.plan("image", "oversized", bytes=5_000_000, chunked=chunked)
        assert "longer than 100,000 bytes" in failed(fetch, urls[0], max_bytes=100_000).message
    assert image_requests(emulator) == 5  # it would be as long the next time


def test_several_threads_at_once(emulator: Emulator, urls: list[str]) -> None:
    """One downloader serves many threads, each with its own connection and retries."""
    emulator.plan("image", "http_error", status=500, probability=0.2)
    emulator.plan("image", "truncated_image", probability=0.2)
    sleeps: list[float] = []
    downloader = Downloader(sleep=sleeps.append, retries=Retries(attempts=50))

    def one(number: int) -> tuple[str, str]:
        file = io.BytesIO()
        url = urls[number % 2]
        downloaded = downloader.fetch(url, file)
        assert hashlib.sha256(file.getvalue()).hexdigest() == downloaded.sha256
        return url, downloaded.sha256

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(one, range(40)))
    assert len(set(found)) == 2
    assert image_requests(emulator) == 40 + len(sleeps)


def test_many_at_once_in_one_event_loop(emulator: Emulator, urls: list[str], loop: asyncio.AbstractEventLoop) -> None:
    """The same in an event loop, over connections that are kept."""
    emulator.plan("image", "http_error", status=500, probability=0.2)
    emulator.plan("image", "truncated_image", probability=0.2)
    sleeps: list[float] = []

    async def note(seconds: float) -> None:
        sleeps.append(seconds)

    async def all_of_them() -> set[tuple[str, str]]:
        downloader = AsyncDownloader(sleep=note, retries=Retries(attempts=50))
        async with open_session() as session:
            return set(await asyncio.gather(*(one(downloader, session, urls[number % 2]) for number in range(40))))

    async def one(downloader: AsyncDownloader, session: Any, url: str) -> tuple[str, str]:
        file = io.BytesIO()
        downloaded = await downloader.fetch(session, url, file)
        assert hashlib.sha256(file.getvalue()).hexdigest() == downloaded.sha256
        return url, downloaded.sha256

    assert len(loop.run_until_complete(all_of_them())) == 2
    assert image_requests(emulator) == 40 + len(sleeps)


def keeps_to_its_third(connection: socket.socket) -> None:
    """Answer two requests, and break the connection at the third: what an idle time does that ends unseen."""
    for _ in range(2):
        connection.sendall(IMAGE.replace(b"Connection: close\r\n", b""))
        connection.recv(65_536)
    connection.close()


def test_connections_are_kept_between_images() -> None:
    """One of a host serves image after image, and one that has died is replaced without an error."""
    sleeps: list[float] = []
    with Server(keeps_to_its_third, IMAGE) as server, closing(Downloader(sleep=sleeps.append)) as downloader:
        for _ in range(3):
            assert downloader.fetch(server.url, io.BytesIO()).sha256 == hashlib.sha256(PNG).hexdigest()
        assert len(server.requests) == 2  # connections: the second and third image came and broke on the first one
        assert len(sleeps) == 1


def test_connections_are_kept_in_an_event_loop(loop: asyncio.AbstractEventLoop) -> None:
    """The same there."""

    async def three() -> None:
        downloader = AsyncDownloader()
        async with open_session() as session:
            for _ in range(3):
                assert (await downloader.fetch(session, server.url, io.BytesIO())).bytes == len(PNG)

    with Server(keeps_to_its_third, IMAGE) as server:
        loop.run_until_complete(three())
        assert len(server.requests) == 2


def test_cookies_are_not_kept(download: Any) -> None:
    """What one image's host sets does not come back to it: images are fetched alike, whatever came before."""
    moved = http(302, Location="/there", Set_Cookie="a=b")
    with Server(moved, IMAGE) as server:
        download(server.url, io.BytesIO())
        assert b"cookie" not in server.requests[1].lower()


def test_a_host_is_looked_up_once(environment: Any) -> None:
    """The environment is read for the first image of a host: reading it takes longer than a small image."""
    with Server(IMAGE) as server, closing(Downloader()) as downloader:
        downloader.fetch(server.url, io.BytesIO())
        environment(http_proxy=f"http://127.0.0.1:{closed_port()}")
        downloader.fetch(server.url, io.BytesIO())
        assert len(server.requests) == 2


def test_a_use_that_fails_fetches_nothing_again(loop: asyncio.AbstractEventLoop) -> None:
    """What is done with an image in the thread that has checked it is not tried again: it is no download."""

    def use(_: Any) -> None:
        raise OSError("the disk is full")

    async def fetch() -> None:
        async with open_session() as session:
            await AsyncDownloader().fetch_for(session, server.url, io.BytesIO(), use)

    with Server(IMAGE) as server:
        with pytest.raises(OSError, match="the disk is full"):
            loop.run_until_complete(fetch())
        assert len(server.requests) == 1


def test_a_cancelled_download_ends_at_once(loop: asyncio.AbstractEventLoop) -> None:
    """A body that does not come holds nobody up, and no connection stays behind."""

    def stops(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + bytes(HELD * 2))
        server.wait(5)

    async def cancel() -> None:
        async with open_session() as session:
            task = asyncio.ensure_future(AsyncDownloader().fetch(session, server.url, file := io.BytesIO()))
            while not file.getvalue():  # noqa: ASYNC110 - the server runs in another thread
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with Server(stops) as server:
        start = time.monotonic()
        loop.run_until_complete(cancel())
        assert time.monotonic() - start < 3


# Stopped from another thread


class Stuck:
    """Servers' answers that do not come to an end by themselves; ``begun`` is set when one is under way."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.server: Any = None

    def answer(self, start: bytes, more: bytes = b"") -> Callable[[socket.socket], None]:
        def send(connection: socket.socket) -> None:
            connection.sendall(start)
            self.begun.set()
            while not self.server.wait(0.02):
                connection.sendall(more)

        return send


BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + PNG
STUCK = {
    "trickle": (BEGUN, b"x"),
    "silent": (BEGUN, b""),
    "no-headers": (b"HTTP/1.1 200 OK\r\n", b""),
    "headers-that-trickle": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "no-answer": (b"", b""),
    "complete-perhaps": (b"HTTP/1.1 200 OK\r\n\r\n" + PNG, b""),
}


def stopped(downloader: Downloader, url: str, begun: threading.Event) -> BaseException | None:
    """The error that a download ends in when it is stopped while it is under way."""
    with closing(downloader), ThreadPoolExecutor(1) as pool:
        found = pool.submit(downloader.fetch, url, io.BytesIO())
        assert begun.wait(10)
        downloader.stop()
        return found.exception(timeout=10)


@pytest.mark.parametrize("name", STUCK)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_stopped_download_ends(name: str, secure: bool, environment: Any, authority: Authority) -> None:
    """Whatever it waits for: it is not tried again, and counts as an image in no case."""
    stuck = Stuck()
    environment(REQUESTS_CA_BUNDLE=str(authority.bundle))
    with Server(stuck.answer(*STUCK[name]), tls=authority.server if secure else None) as stuck.server:
        error = stopped(Downloader(), f"{stuck.server.url}/a.png?X-Sig=secret", stuck.begun)
        assert isinstance(error, ImageError)
        assert not error.retry_safe
        assert "was stopped" in error.message
        assert "secret" not in str(error)
        assert len(stuck.server.requests) == 1


def test_a_wait_between_attempts_is_stopped() -> None:
    """However long the image's host wants it to be."""
    stuck = Stuck()
    busy = http(503, b"", Retry_After="3600")
    with Server(stuck.answer(busy), IMAGE) as stuck.server:
        error = stopped(Downloader(retries=Retries(longest_wait=3600)), stuck.server.url, stuck.begun)
        assert isinstance(error, ImageError)
        assert len(stuck.server.requests) == 1


def test_nothing_is_fetched_after_a_stop() -> None:
    """Those that were to come are over, too."""
    with Server(IMAGE) as server, closing(Downloader()) as downloader:
        downloader.fetch(server.url, io.BytesIO())
        downloader.stop()
        with pytest.raises(ImageError, match="was stopped"):
            downloader.fetch(server.url, io.BytesIO())
        assert len(server.requests) == 1


# From servers that go further


@pytest.mark.parametrize("count", [1, 5])
def test_redirects_are_followed(fetch: Any, count: int) -> None:
    """A CDN may send us on, up to five times; to other hosts and relative too."""
    with Server(IMAGE) as cdn:
        hops = [http(302, b"moved", Location=f"/{number}") for number in range(count - 1)]
        with Server(*hops, http(302, b"moved", Location=f"{cdn.url}/last?x=%2F")) as server:
            assert fetch(server.url, retries=NO_RETRIES)[1] == PNG
            assert len(server.requests) == count
        assert cdn.requests[0].startswith(b"GET /last?x=%2F HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect(fetch: Any, status: int) -> None:
    """All of them mean the same for a GET."""
    with Server(http(status, b"", Location="/there"), IMAGE) as server:
        assert fetch(server.url, retries=NO_RETRIES)[1] == PNG


def test_redirects_in_a_circle(fetch: Any) -> None:
    """The sixth redirect is one too many."""
    with Server(http(302, b"", Location="/again")) as server:
        error = failed(fetch, server.url, retries=NO_RETRIES)
        assert type(error) is ImageDownloadError
        assert "more than 5 redirects" in error.message
        assert len(server.requests) == 6


@pytest.mark.parametrize(
    "target",
    [
        "http://[",
        "http://a..b/",
        "gopher://x/",
        "file:///etc/passwd",
        "http://",
        "http://h:99999/",
        "\xff\xfe",
        "",
        "//",
    ],
)
def test_redirects_to_nowhere(fetch: Any, target: str) -> None:
    """A target that is no URL ends in an error of ours."""
    with Server(http(302, b"", Location=target)) as server:
        failed(fetch, server.url, retries=NO_RETRIES)


def test_a_redirect_without_end(fetch: Any) -> None:
    """The body of a redirect is not waited for."""

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /there\r\n\r\n")
        for _ in range(100):
            connection.sendall(b"x" * 100)
            if server.wait(0.05):
                break

    with Server(endless, IMAGE) as server:
        start = time.monotonic()
        assert fetch(server.url, retries=NO_RETRIES)[1] == PNG
        assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "target", ["/a/b.png?X-Sig=a%2Bb%2F%3D&x=~%7E&y=1+2&z=%20&&empty=&%41=b;c#part", "/%7Euser/a%20b/./c.png?q"]
)
def test_urls_are_used_unchanged(fetch: Any, target: str) -> None:
    """A signature covers the query string as it is written, so no escape is touched."""
    with Server(IMAGE) as server:
        fetch(server.url + target)
        sent = server.requests[0].split(b" ")[1].decode()
        assert sent == target.partition("#")[0]


def test_a_body_without_a_length_that_breaks_off(fetch: Any) -> None:
    """It looks complete to HTTP, and is found out by its content."""
    with Server(b"HTTP/1.1 200 OK\r\n\r\n" + PNG[:-5], b"HTTP/1.1 200 OK\r\n\r\n" + PNG) as server:
        assert fetch(server.url)[1] == PNG
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [201, 204, 206, 304])
def test_only_200_is_an_image(fetch: Any, status: int) -> None:
    """Part of an image is none."""
    with Server(http(status, b"" if status in {204, 304} else PNG)) as server:
        error = failed(fetch, server.url, retries=NO_RETRIES)
        assert (type(error), error.http_status) == (ImageDownloadError, status)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"rubbish\r\n\r\n",
        http(200, b"x", Content_Encoding="gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ],
)
def test_broken_http(fetch: Any, answer: bytes) -> None:
    """Whatever comes, it ends in an error of ours."""
    with Server(answer) as server:
        assert failed(fetch, server.url, retries=NO_RETRIES).retry_safe


def test_nobody_there(fetch: Any) -> None:
    """A refused connection is tried again, then told."""
    error = failed(fetch, f"http://127.0.0.1:{closed_port()}/x.png?X-Sig=secret", retries=Retries(attempts=2))
    assert type(error) is ImageDownloadError
    assert "/x.png" in error.message
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "url", ["", "x.png", "/tmp/x.png", "ftp://host/x.png", "s3://b/x", "http://", "http://a..b/x", None]
)
def test_what_is_no_url_is_refused(fetch: Any, url: Any) -> None:
    """Nothing is sent for it."""
    with pytest.raises(InvalidRequestError, match="http:// or https://"):
        fetch(url)


def test_urls_are_shown_without_secrets() -> None:
    """Signatures and logins do not get into logs."""
    assert shown("https://user:word@cdn.example:8443/a/b.jpeg?X-Sig=c#d") == "https://cdn.example:8443/a/b.jpeg"


def test_images_come_through_the_proxy(fetch: Any, environment: Any) -> None:
    """Proxies of the environment hold for the image host too."""
    with Proxy(IMAGE) as proxy:
        environment(http_proxy=proxy.url)
        assert fetch(f"http://{NAME}/x.png?a=%2F~")[1] == PNG
        assert proxy.requests[0].startswith(f"GET http://{NAME}/x.png?a=%2F~ HTTP/1.1\r\n".encode())


def test_images_over_tls(fetch: Any, environment: Any, authority: Authority) -> None:
    """CA bundles of the environment hold for the image host too, and nothing is fetched without trust."""
    with Server(IMAGE, tls=authority.server) as server:
        environment()
        assert type(failed(fetch, server.url, retries=NO_RETRIES)) is ImageDownloadError
        environment(REQUESTS_CA_BUNDLE=str(authority.bundle))
        assert fetch(server.url)[1] == PNG
        assert len(server.requests) == 1


def test_a_bundle_that_is_not_there(fetch: Any, environment: Any, authority: Authority) -> None:
    """A wrong path is an error of ours as well."""
    environment(REQUESTS_CA_BUNDLE="/nowhere/none.pem")
    with Server(IMAGE, tls=authority.server) as server, pytest.raises(InvalidSettingsError, match=r"none\.pem"):
        fetch(server.url, retries=NO_RETRIES)


def test_a_full_disk_is_not_blamed_on_the_network(urls: list[str], download: Any) -> None:
    """An error of the file is not an error of the download, and is not tried again."""

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        download(urls[0], Full())


def test_memory_is_constant(download: Any, tmp_path: Any) -> None:
    """60 MB go through with a few pieces in memory at a time."""
    piece = os.urandom(1 << 20)
    pieces = 60

    def large(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * pieces + 4))
        connection.sendall(b"\xff\xd8\xff\xe0")
        for _ in range(pieces):
            connection.sendall(piece)

    with Server(large) as server, (tmp_path / "image").open("w+b") as file:
        tracemalloc.start()
        try:
            with pytest.raises(BrokenImageError):
                download(server.url, file, retries=NO_RETRIES)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert file.seek(0, io.SEEK_END) == len(piece) * pieces + 4
    assert peak < 4_000_000


def test_no_thread_is_left_behind(urls: list[str]) -> None:
    """A download is done where it is called."""
    before = threading.active_count()
    Downloader().fetch(urls[0], io.BytesIO())
    assert threading.active_count() <= before
