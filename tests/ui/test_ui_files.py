"""Which files are sent: those that a record tells by their digest, and as images only."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from test_ui_access import image_address
from ui_world import World, picture, saved

from airflow_provider_qwenimage.ui import files


@pytest.mark.parametrize(
    ("kind", "content_type", "extension"),
    [("PNG", "image/png", "png"), ("JPEG", "image/jpeg", "jpeg"), ("WEBP", "image/webp", "webp")],
)
def test_an_image_is_sent_as_what_it_is(
    world: World, ann: TestClient, tmp_path: Path, kind: str, content_type: str, extension: str
) -> None:
    content = picture(kind)
    world.record([saved(tmp_path / "größe 1.html", content, content_type="text/html")])
    answer = ann.get(image_address(world))
    assert answer.status_code == 200
    assert answer.content == content
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-disposition"] == f'inline; filename="gr_e_1.{extension}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["content-length"] == str(len(content))


def test_large_image_is_sent_whole(world: World, ann: TestClient, tmp_path: Path) -> None:
    content = picture("PNG") + os.urandom(3 * files.IN_MEMORY)  # what follows the end of a PNG is no part of it
    world.record([saved(tmp_path / "large.png", content)])
    assert ann.get(image_address(world)).content == content


def test_what_the_browser_has_is_not_read_again(world: World, ann: TestClient, tmp_path: Path) -> None:
    record = saved(tmp_path / "a.png")
    world.record([record])
    os.unlink(record["path"])
    answer = ann.get(image_address(world), headers={"If-None-Match": f'W/"{record["sha256"]}"'})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("scheme", ["file://", "local://"])
def test_file_urls(world: World, ann: TestClient, tmp_path: Path, scheme: str) -> None:
    record = saved(tmp_path / "a.png")
    world.record([{**record, "path": f"{scheme}{record['path']}"}])
    assert ann.get(image_address(world)).status_code == 200


def passwd(**more: Any) -> dict[str, Any]:
    content = Path("/etc/passwd").read_bytes()
    known = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "width": 9, "height": 9}
    return {"path": "/etc/passwd", "generation_id": "g", **known, **more}


@pytest.mark.parametrize(
    "record",
    [
        passwd(),
        passwd(content_type="image/png"),
        passwd(path="/etc/../etc/passwd"),
        passwd(path="file:///etc/passwd"),
        passwd(path="local:///etc/passwd"),
        passwd(path="simplecache::file:///etc/passwd"),
        passwd(sha256="0" * 64, bytes=None),
        passwd(sha256=None),
        passwd(path="/etc"),
        passwd(path="/dev/zero", bytes=None),
        passwd(path="/dev/stdin", bytes=None),
        passwd(path="/proc/self/environ", bytes=None),
        passwd(path="etc/passwd"),
        passwd(path="../../etc/passwd"),
        passwd(path="http://127.0.0.1:1/a.png"),
        passwd(path="HTTPS://127.0.0.1:1/a.png"),
        passwd(path="https://somebody@127.0.0.1:1/a.png"),
        passwd(path="s3://no_such_connection@bucket/a.png"),
        passwd(path="gopher://x/y"),
        passwd(path="://"),
        passwd(path="/\x00etc/passwd"),
        passwd(path="/tmp/" + "a" * 300),
        passwd(path={"a": 1}),
    ],
    ids=lambda record: str(record["path"])[:40],
)
def test_forged_record_gets_nothing(world: World, ann: TestClient, record: dict[str, Any]) -> None:
    world.record([record])
    answer = ann.get(image_address(world))
    assert answer.status_code == 404
    assert "root:" not in answer.text
    assert "There is nothing to show here" in answer.text


def test_another_dags_image_needs_its_digest(world: World, ann: TestClient, tmp_path: Path) -> None:
    """Who writes one DAG can't look at another's image by naming its path."""
    record = saved(tmp_path / "theirs.png")
    world.record([{**record, "sha256": "f" * 64}])
    assert ann.get(image_address(world)).status_code == 404


def test_refusals_look_alike(world: World, ann: TestClient, tmp_path: Path) -> None:
    """A forger does not learn whether a file is there, how long it is or what is in it."""
    real = saved(tmp_path / "a.png")
    text = saved(tmp_path / "b.png", b"no image")
    world.record([{**real, "path": "/nowhere/a.png"}, {**real, "bytes": 7}, {**real, "sha256": "0" * 64}, text])
    texts = {ann.get(image_address(world, index)).text.partition("<body>")[2] for index in range(4)}
    assert len(texts) == 1


def test_pipe_does_not_hold_the_server(world: World, ann: TestClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    world.record([{**saved(tmp_path / "a.png"), "path": str(tmp_path / "pipe"), "bytes": None}])
    before = time.monotonic()
    assert ann.get(image_address(world)).status_code == 404
    assert time.monotonic() - before < 5


def test_huge_file_is_not_read(world: World, ann: TestClient, tmp_path: Path) -> None:
    record = saved(tmp_path / "huge.png")
    os.truncate(record["path"], files.LARGEST + 1)
    world.record([{**record, "bytes": None}])
    assert ann.get(image_address(world)).status_code == 404


@pytest.mark.parametrize("content", [b"", b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n", b"GIF89a" + b"0" * 99])
def test_what_is_no_image_is_not_sent(world: World, ann: TestClient, tmp_path: Path, content: bytes) -> None:
    world.record([saved(tmp_path / "a.png", content)])
    assert ann.get(image_address(world)).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        "index=1", "index=-1", "index=zero", "index=99999999999999999999", "index=0&map_index=0",
        "index=0&map_index=99999999999999999999", "index=0&map_index=-2", "index=0&run_id=nowhere",
        "index=0&task_id=../../etc/passwd", "index=0&run_id=%00", "index=0&run_id=", "index=/etc/passwd",
    ],
)  # fmt: skip
def test_addresses_that_name_no_record(world: World, ann: TestClient, tmp_path: Path, change: str) -> None:
    world.record([saved(tmp_path / "a.png")])
    address = image_address(world).replace("index=0", change)
    assert ann.get(address).status_code == 404


@pytest.mark.parametrize("path", ["static/../app.py", "static/..%2fapp.py", "static/%2e%2e/plugin.py", "static/x"])
def test_static_files_are_two(ann: TestClient, path: str) -> None:
    answer = ann.get(f"/qwenimage/{path}")
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_object_store(world: World, ann: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever storage Airflow knows: here fsspec's own in memory, under a connection's name."""
    from fsspec.implementations.memory import MemoryFileSystem

    store = MemoryFileSystem()
    store.pipe("/bucket/a.png", picture())
    schemes = {"memory": lambda conn_id, options: store, "slow": lambda conn_id, options: store}
    monkeypatch.setattr("airflow.sdk.io.fs._BUILTIN_SCHEME_TO_FS", schemes)
    from airflow.sdk.io.fs import _register_filesystems

    _register_filesystems.cache_clear()
    try:
        record = saved(tmp_path / "a.png")
        world.record([{**record, "path": f"memory://conn@{path}"} for path in ("/bucket/a.png", "/bucket", "/b/c.png")])
        answers = [ann.get(image_address(world, index)) for index in range(3)]
        assert [answer.status_code for answer in answers] == [200, 404, 404]
        assert answers[0].content == picture()
    finally:
        _register_filesystems.cache_clear()


def test_storage_that_hangs(world: World, ann: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs a thread of ours for a while; others are answered meanwhile."""
    let_go = threading.Event()
    monkeypatch.setattr(files, "SECONDS", 0.3)
    monkeypatch.setattr(files, "_opened", lambda image: let_go.wait(20))
    world.record([saved(tmp_path / "a.png")])
    before = time.monotonic()
    try:
        assert ann.get(image_address(world)).status_code == 404
    finally:
        let_go.set()
    assert time.monotonic() - before < 5
