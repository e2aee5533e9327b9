"""The save operator: names, whole files and nothing else, true records, and never outside its folder."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import unwrap
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import AirflowHere, bought, whole_image
from PIL import Image

from airflow_provider_qwenimage._compat import AirflowFailException
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

LINK = "_link_QwenImageResultLink"


class Ti:
    """A place for the XComs of an operator that runs without a DAG run."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


def save(urls: Any, folder: Any, **arguments: Any) -> tuple[list[str], dict[str, Any]]:
    """Run the operator; return its result and its XComs."""
    operator = QwenImageToObjectStorageOperator(task_id="save", result_urls=urls, output_path=str(folder), **arguments)
    ti = Ti()
    # Airflow 2.11 guards execute() against being called by anything but the task runner.
    return unwrap(type(operator).execute)(operator, {"ti": ti, "outlet_events": {}}), ti.xcoms


def results(images: int = 1) -> list[str]:
    """Buy a generation that is ready at once, and return its URLs."""
    hook = QwenImageHook()
    submission = hook.create_task(GenerationRequest(prompt="a kite", num_outputs=images))
    return list(hook.get_task(submission.generation_id).result_urls)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The output folder, in a place where anything beside it would be seen."""
    return tmp_path / "out"


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the downloader try again at once."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)


@pytest.fixture
def any_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server with a picture at every URL whatsoever, and a connection that allows it to be on this machine."""
    monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", "qwenimage://:key_x123456@127.0.0.1:1")
    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, "PNG")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(file.getvalue())))
            self.end_headers()
            self.wfile.write(file.getvalue())

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_saves_whole_images_under_deterministic_names(service: Emulator, folder: Path):
    """Each image is one whole file named after its generation and place; the result and the link are told."""
    urls = results(3)
    paths, xcoms = save(urls, folder)
    generation_id = urls[0].rpartition("/")[2].partition("_")[0]
    assert files(folder) == [f"{generation_id}_{index}.jpeg" for index in range(3)]
    assert [path.removeprefix("file://") for path in paths] == [f"{folder}/{name}" for name in files(folder)]
    assert all(whole_image(path).size == (96, 54) for path in paths)
    assert len({Path(folder, name).read_bytes() for name in files(folder)}) == 3
    assert xcoms[LINK] == urls[0]
    assert service.report()["violations"] == []


def test_records_are_true(service: Emulator, folder: Path):
    """The XCom images says of each file what Pillow and hashlib say of it, and is plain JSON."""
    urls = results(2)
    paths, xcoms = save(urls, folder)
    for index, record in enumerate(xcoms["images"]):
        content = Path(paths[index].removeprefix("file://")).read_bytes()
        image = whole_image(paths[index])
        assert record == {
            "path": paths[index],
            "url": urls[index],
            "index": index,
            "generation_id": Path(paths[index]).name.partition("_")[0],
            "width": image.width,
            "height": image.height,
            "content_type": "image/jpeg",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }


def test_pushes_nothing_when_told_so(service: Emulator, folder: Path):
    """do_xcom_push=False is respected for records and link."""
    _, xcoms = save(results(), folder, do_xcom_push=False)
    assert xcoms == {}
    assert len(files(folder)) == 1


def test_a_result_as_jinja_renders_it(airflow: AirflowHere, service: Emulator, folder: Path):
    """A list that has been through a template is read back, signatures and all."""
    urls = results(2)
    run = airflow.run("saving", urls=urls, output_path=str(folder))
    assert run.state == "success"
    assert run.xcom("save") == [record["path"] for record in run.xcom("save", "images")]
    assert [record["url"] for record in run.xcom("save", "images")] == urls
    assert len(files(folder)) == 2


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{index}.{ext}", r"0.jpeg"),
        ("{generation_id}/{index}.{ext}", "{generation_id}/0.jpeg"),
        ("a b/c d/{index:03}.jpg", "a b/c d/000.jpg"),
        ("{sha256}.{ext}", "{sha256}.jpeg"),
        ("{sha256:.8}-Ü.{ext}", "{short}-Ü.jpeg"),
        ("{{literal}}-{index}", "{{literal}}-0"),
    ],
)
def test_names_come_from_the_template(template: str, name: str, service: Emulator, folder: Path):
    """All placeholders, formats and subfolders work."""
    _, xcoms = save(results(), folder, file_name=template)
    (record,) = xcoms["images"]
    expected = name.format(generation_id=record["generation_id"], sha256=record["sha256"], short=record["sha256"][:8])
    assert files(folder) == [expected]


@pytest.mark.parametrize(
    "template",
    [
        "",
        "/etc/{index}.{ext}",
        "../{index}.{ext}",
        "a/../../{index}.{ext}",
        "./{index}.{ext}",
        "a//{index}.{ext}",
        "a/{index}/",
        "..\\{index}.{ext}",
        "{index}\n.{ext}",
        "{index}\0.{ext}",
        "{prompt}_{index}.{ext}",
        "{}_{index}.{ext}",
        "{0}_{index}.{ext}",
        "{index.__class__}_{index}.{ext}",
        "{index",
        "{index:q}.{ext}",
        "one-name-for-all.{ext}",
        " /{index}",
        None,
        7,
    ],
)
def test_bad_templates_fetch_nothing(template: Any, service: Emulator, folder: Path):
    """A template that can't be filled in, leaves the folder or names all images the same fails before any download."""
    with pytest.raises(errors.InvalidRequestError) as raised:
        save(results(2), folder, file_name=template)
    assert isinstance(raised.value, AirflowFailException)
    assert service.report()["images_served"] == 0
    assert not folder.exists()


def test_one_image_may_have_a_fixed_name(service: Emulator, folder: Path):
    """A single image needs no index in its name."""
    save(results(1), folder, file_name="cover.jpg")
    assert files(folder) == ["cover.jpg"]


@pytest.mark.parametrize("generation_id", ["../../evil", "/etc/evil", "a/../../b", "..", "x\0y", "a\\..\\b", "x\ny"])
def test_a_generation_id_can_not_leave_the_folder(generation_id: str, service: Emulator, tmp_path: Path, folder: Path):
    """Whatever fills a placeholder, the file stays below output_path."""
    template = "{generation_id}" if generation_id == ".." else "{generation_id}_{index}.{ext}"
    with pytest.raises(errors.InvalidRequestError):
        save(results(), folder, generation_id=generation_id, file_name=template)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    "path",
    [
        "/images/../../../../etc/evil_0.jpeg",
        "/images/%2e%2e%2f%2e%2e%2fevil_0.jpeg",
        "/images/..%5c..%5cevil_0.jpeg",
        "/images/evil%00evil_0.jpeg",
        "/..",
        "/",
        "/images/x_0.jpeg?name=../../evil_0.jpeg#/../evil_0.jpeg",
    ],
)
def test_a_url_can_not_leave_the_folder(path: str, any_host: str, tmp_path: Path, folder: Path):
    """File names are not taken from URLs unless they look like an id."""
    paths, _ = save([any_host + path], folder)
    assert len(files(tmp_path)) == 1
    assert Path(paths[0].removeprefix("file://")).parent == folder
    assert files(folder)[0].endswith("_0.png")


@pytest.mark.parametrize(
    "connection", ["qwenimage://:key_x123456@", "qwenimage://:key_x123456@https%3A%2F%2F93.184.216.34", None]
)
def test_a_public_service_can_not_point_into_the_own_network(
    connection: str | None, airflow: AirflowHere, any_host: str, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """Unless the service itself is private, as an emulator is, no private address is fetched from."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.hosts.socket.getaddrinfo", _public_names)
    monkeypatch.delenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT")
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", connection)
    with pytest.raises(errors.ImageError, match="no public address"):
        save([f"{any_host}/a_0.png"], folder)
    assert not folder.exists() or files(folder) == []


def _public_names(*args: Any, **kwargs: Any) -> list[Any]:
    return [(2, 1, 6, "", ("93.184.216.34", 443))]


@pytest.mark.parametrize("path", ["out", "./out", "../out", "~/out", "", "  ", None, "None"])
def test_a_relative_folder_is_refused(path: Any, service: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Where a relative path would lead depends on the worker: refused when parsed, or when rendered."""
    monkeypatch.chdir(tmp_path)
    urls = ["http://x/a_0.jpeg"]
    with pytest.raises(errors.InvalidRequestError, match="output_path"):
        QwenImageToObjectStorageOperator(task_id="save", result_urls=urls, output_path=path)
    rendered = QwenImageToObjectStorageOperator(task_id="save", result_urls=urls, output_path="{{ x }}")
    rendered.output_path = path
    with pytest.raises(errors.InvalidRequestError, match="output_path"):
        unwrap(type(rendered).execute)(rendered, {"ti": Ti(), "outlet_events": {}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "urls", [None, [], "", "None", "[]", ["ftp://x/a.jpeg"], ["/etc/passwd"], "file:///etc/passwd", [None], {"a": 1}, 7]
)
def test_what_is_no_url_is_refused(urls: Any, folder: Path):
    """Nothing but a list of http(s) URLs is fetched."""
    with pytest.raises(errors.InvalidRequestError, match="result_urls"):
        save(urls, folder)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "truncated_image"}, errors.BrokenImageError),
        ({"kind": "truncated"}, errors.ImageDownloadError),
        ({"kind": "mislabelled", "actual": "html"}, errors.BrokenImageError),
        ({"kind": "http_error", "status": 404}, errors.ImageGoneError),
        ({"kind": "http_error", "status": 403}, errors.ImageGoneError),
        ({"kind": "http_error", "status": 500}, errors.ImageDownloadError),
        ({"kind": "close_after"}, errors.ImageDownloadError),
    ],
)
def test_an_image_that_fails_leaves_nothing_behind(
    fault: dict[str, Any], kind: type[Exception], service: Emulator, folder: Path, no_waits: None
):
    """A broken download ends in its error, which is not final and names the money, and in no file at all."""
    urls = results(1)
    service.plan("image", **fault, times=100)
    with pytest.raises(kind) as raised:
        save(urls, folder)
    assert not isinstance(raised.value, AirflowFailException)
    assert "already paid for" in str(raised.value)
    assert "X-Amz" not in str(raised.value)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_one_broken_image_does_not_stop_the_others(service: Emulator, folder: Path, no_waits: None):
    """Of three images two are saved and one is not: the error says which, and no part of it is in the folder."""
    urls = results(3)
    path = urls[1].removeprefix(service.url).partition("?")[0]
    service.state.images.put(path, b"\xff\xd8\xff\xe0 this is no picture")
    with pytest.raises(errors.BrokenImageError) as raised:
        save(urls, folder)
    assert [name[-6:] for name in files(folder)] == ["0.jpeg", "2.jpeg"]
    assert all(whole_image(folder / name) for name in files(folder))
    assert "JPEG" in str(raised.value)


def test_a_retry_saves_what_is_missing_and_buys_nothing(
    airflow: AirflowHere, service: Emulator, folder: Path, no_waits: None
):
    """After a failed try the next one writes the same files again, over what is there."""
    urls = results(2)
    service.plan("image", "truncated_image", times=8)
    run = airflow.run("saving", urls=urls, output_path=f"file://{folder}")
    assert run.state == "success"
    assert isinstance(run.error("save"), errors.BrokenImageError)
    assert len(files(folder)) == 2
    first = {name: (folder / name).read_bytes() for name in files(folder)}
    (folder / files(folder)[0]).write_bytes(b"rubbish")
    airflow.run("saving", urls=urls, output_path=f"file://{folder}")
    assert {name: (folder / name).read_bytes() for name in files(folder)} == first
    assert bought(service) == 1


@pytest.mark.parametrize("actual", ["png", "jpeg"])
def test_the_extension_is_what_the_content_is(actual: str, service: Emulator, folder: Path):
    """A PNG behind a URL that ends in .jpeg is saved as .png, and recorded as image/png."""
    service.plan("image", "mislabelled", actual=actual)
    paths, xcoms = save(results(), folder)
    assert paths[0].endswith(f".{actual}")
    assert whole_image(paths[0]).format == actual.upper()
    assert xcoms["images"][0]["content_type"] == f"image/{actual}"


def test_urls_are_used_unchanged_and_the_key_stays_home(service: Emulator, folder: Path):
    """The image host sees the signed query string as it was given, and no API key in any header."""
    urls = results(2)
    save(urls, folder)
    seen = [entry for entry in service.requests() if entry["endpoint"] == "image"]
    assert {f"{service.url}{entry['path']}?{entry['query']}" for entry in seen} == set(urls)
    assert not any(entry["api_key_present"] for entry in seen)
    assert service.api_key not in repr(seen)
    assert service.report()["violations"] == []


def test_longer_images_than_allowed_are_refused(service: Emulator, folder: Path, no_waits: None):
    """max_bytes bounds what is written to the disk."""
    with pytest.raises(errors.BrokenImageError, match="longer than 100 bytes"):
        save(results(), folder, max_bytes=100)
    assert files(folder) == []


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(umask: int, service: Emulator, folder: Path):
    """Files are as readable as any that the worker writes, although they go through a private temporary file."""
    before = os.umask(umask)
    try:
        paths, _ = save(results(), folder)
    finally:
        os.umask(before)
    mode = stat.S_IMODE(os.stat(paths[0].removeprefix("file://")).st_mode)
    assert mode == 0o666 & ~umask


def test_a_folder_that_can_not_be_written_to(service: Emulator, tmp_path: Path):
    """A file in the way of the folder is an error of the disk, which a retry may find mended."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        save(results(), tmp_path / "file")
    assert files(tmp_path) == ["file"]


def test_scratch_files_are_gone(service: Emulator, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither a success nor a failure leaves anything in the temporary folder."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    save(results(2), folder)
    service.plan("image", "http_error", status=404)
    with pytest.raises(errors.ImageGoneError):
        save(results(), folder)
    assert list(scratch.iterdir()) == []


def test_another_storage_than_the_disk(service: Emulator):
    """Any file system that Airflow knows will do; here fsspec's own in memory, under a name of its own."""
    import fsspec

    memory = fsspec.filesystem("memory")
    _attach("memory", memory)
    paths, xcoms = save(results(2), "memory://bucket/images", file_name="{generation_id}/{index}.{ext}")
    try:
        assert len(paths) == 2
        for record in xcoms["images"]:
            (stored,) = [name for name in memory.find("/") if name.endswith(record["path"].partition("images/")[2])]
            content = memory.cat_file(stored)
            assert hashlib.sha256(content).hexdigest() == record["sha256"]
    finally:
        memory.store.clear()


def _attach(scheme: str, filesystem: Any) -> None:
    """Make a file system known to ObjectStoragePath, as users do who bring their own."""
    try:
        from airflow.sdk.io import attach
    except ImportError:
        from airflow.io.store import attach
    attach(scheme, fs=filesystem)


def test_the_link_is_known_before_anything_is_saved(
    service: Emulator, folder: Path, no_waits: None, start: Callable[..., Emulator]
):
    """The button to the result is there even if saving fails."""
    urls = results()
    service.plan("image", "http_error", status=404)
    operator = QwenImageToObjectStorageOperator(task_id="save", result_urls=urls, output_path=str(folder))
    ti = Ti()
    with pytest.raises(errors.ImageGoneError):
        unwrap(type(operator).execute)(operator, {"ti": ti, "outlet_events": {}})
    assert ti.xcoms[LINK] == urls[0]
