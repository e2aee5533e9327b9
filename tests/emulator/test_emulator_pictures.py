"""The images that are made."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from airflow_provider_qwenimage.emulator.pictures import Picture, draw


def download(url: str) -> Image.Image:
    image = Image.open(io.BytesIO(requests.get(url, timeout=10).content))
    image.load()
    return image


@pytest.mark.parametrize(
    ("ratio", "size"), [("16:9", (320, 180)), ("9:16", (180, 320)), ("4:3", (320, 240)), ("3:4", (240, 320))]
)
@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_size_and_format(start, clock, ratio, size, image_format):
    caller = start(image_size=320, image_format=image_format)
    order = caller.order()
    order["options"]["aspect_ratio"] = ratio
    generation_id = caller.data("create", order)["task_id"]
    clock.move(10)
    (url,) = caller.get(generation_id)["result_urls"]
    assert f".{image_format}?" in url
    image = download(url)
    assert (image.size, image.format) == (size, image_format.upper())


def test_the_same_seed_and_orders_give_the_same_bytes(start):
    first, second = ([requests.get(url).content for url in start(seed=7).generate(num_outputs=2)] for _ in range(2))
    assert first == second
    assert first[0] != first[1]


def test_an_image_is_the_same_when_it_is_drawn_again(caller):
    (url,) = caller.generate()
    before = requests.get(url).content
    caller.emulator.state.images.clear()
    assert requests.get(url).content == before


def test_other_prompts_give_other_pictures(caller):
    one, two = (download(caller.generate(prompt)[0]) for prompt in ("a lighthouse", "a harbour"))
    assert ImageChops.difference(one, two).getbbox() is not None


PROMPTS = [
    "山水画,晨雾中的灯塔" * 9,
    "🙂👩‍👩‍👧‍👦🏳️‍🌈",
    "منارة عند الغروب",
    "fi \u0301\u200d\x00\t",
    "\ud800",
    "x" * 5000,
    "W " * 900,
]


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_any_script_can_be_drawn(caller, prompt):
    assert download(caller.generate(prompt)[0]).size == (64, 36)


@settings(max_examples=100, deadline=None)
@given(caption=st.text(st.characters(codec=None), max_size=80), long_side=st.integers(16, 300))
def test_any_caption_can_be_drawn_at_any_size(caption, long_side):
    content = draw(Picture(caption, "footer", b"digest", "9:16", long_side), "jpeg")
    assert max(Image.open(io.BytesIO(content)).size) == long_side


def recognisable(image: Image.Image) -> bool:
    """Tell whether the photo's red left and blue right can still be seen."""
    left, right = image.crop((0, 0, 20, 12)), image.crop((44, 0, 64, 12))
    red_left, _, blue_left = ImageStat.Stat(left).mean
    red_right, _, blue_right = ImageStat.Stat(right).mean
    return red_left > red_right + 80 and blue_right > blue_left + 80


def test_an_image_is_made_from_an_upload(caller, photo):
    image = download(caller.generate(image_url=caller.upload(photo))[0])
    assert image.size == (64, 32)
    assert recognisable(image)
    other = download(caller.generate("in oil", image_url=caller.upload(photo))[0])
    assert ImageChops.difference(image, other).getbbox() is not None


@pytest.fixture
def host(photo: bytes) -> Iterator[str]:
    """Another web server, with a good picture and bad ones."""
    files = {
        "/photo.png": photo,
        "/text.png": b"text",
        "/half.png": photo[: len(photo) // 2],
        "/big.png": photo.ljust(11_000_000),
    }
    gif = io.BytesIO()
    Image.new("RGB", (9, 9)).save(gif, "GIF")
    files["/photo.gif"] = gif.getvalue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in files else 404)
            self.end_headers()
            with contextlib.suppress(ConnectionError):  # the emulator hangs up once it has read enough
                self.wfile.write(files.get(self.path, b""))

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_image_is_made_from_a_picture_elsewhere(caller, host):
    assert recognisable(download(caller.generate(image_url=f"{host}/photo.png")[0]))


def test_many_images_at_once_are_made_from_results_under_another_host_name(caller):
    urls = [caller.generate()[0].replace("127.0.0.1", "localhost") for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert len({*pool.map(lambda url: caller.create(image_url=url), urls)}) == 8


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing.png", "Invalid image url"),
        ("/big.png", "Invalid image url"),
        ("/text.png", "Invalid image format"),
        ("/half.png", "Invalid image format"),
        ("/photo.gif", "Invalid image format"),
    ],
)
def test_a_bad_picture_elsewhere_is_refused_as_published(caller, host, path, message):
    answer = caller.post("create", caller.order(image_url=f"{host}{path}"))
    assert answer.json() == {"code": 0, "message": message}
    assert caller.emulator.report()["bought"] == 0
    assert caller.emulator.report()["violations"] == []


def test_a_picture_that_can_not_be_had_is_an_invalid_url(caller, host):
    result = caller.generate()[0]
    urls = [
        "http://127.0.0.1:9/x.png",
        "http://[::1",
        "http://",
        f"http://{'a' * 70}.invalid/x.png",
        f"{caller.emulator.url}/uploads/{'0' * 32}.png",
        result[:-1],
    ]
    for url in urls:
        assert caller.post("create", caller.order(image_url=url)).json() == {"code": 0, "message": "Invalid image url"}
