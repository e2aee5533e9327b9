"""Records are claims by anybody: whatever they hold, reading them gives usable values or none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_qwenimage.ui.records import LARGEST, read_record, read_records

FIELDS = (
    "path", "url", "index", "generation_id", "width", "height", "content_type", "bytes", "sha256", "prompt",
    "model_id", "seconds",
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(10**400),
    st.sampled_from(["/etc/passwd", "javascript:alert(1)", "https://[::1", "https://a.b.com/x", "s3://c@b/k"]),
    st.just("a" * 64),
)  # fmt: skip
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
RECORDS = st.one_of(JSON, st.dictionaries(st.sampled_from(FIELDS), SCALARS, max_size=12))


@given(RECORDS)
def test_a_record_is_clean_or_none(entry: Any) -> None:
    image = read_record(entry, 3)
    if image is None:
        return
    assert image.position == 3
    assert image.path or image.url
    for text in (image.path, image.url, image.prompt, image.model_id, image.generation_id):
        assert text is None or (text and text.encode("utf-8"))
    for count in (image.width, image.height, image.bytes):
        assert count is None or (type(count) is int and 0 < count < LARGEST)
    assert image.seconds is None or 0 <= image.seconds < LARGEST
    assert image.sha256 is None or len(image.sha256) == 64


@given(st.one_of(st.text(), JSON.map(json.dumps), st.lists(RECORDS).map(json.dumps)))
def test_reading_never_raises(raw: str) -> None:
    records = read_records(raw)
    assert bool(records.problem) <= (not records.images)


@given(st.lists(RECORDS, max_size=5))
def test_every_entry_is_shown_or_counted(entries: list[Any]) -> None:
    records = read_records(json.dumps(entries))
    assert len(records.images) + records.skipped == len(entries)


def test_a_whole_record() -> None:
    whole = {
        "path": "s3://conn@bucket/a.png", "url": "https://x.example.com/a.png", "prompt": " a\nb ", "model_id": "0-24",
        "generation_id": "g", "width": 1, "height": 2, "bytes": 3, "sha256": "a" * 64, "seconds": 4,
    }  # fmt: skip
    image = read_record(whole, 0)
    assert image is not None
    assert image.servable
    assert (image.path, image.prompt, image.seconds) == ("s3://conn@bucket/a.png", "a\nb", 4.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", True), ("width", -1), ("height", "9"), ("bytes", 1.5), ("seconds", float("nan")),
        ("seconds", float("inf")), ("seconds", 10**400), ("sha256", "A" * 64), ("sha256", "a" * 63),
        ("prompt", "   "), ("prompt", ["x"]),
    ],
)  # fmt: skip
def test_what_is_not_what_it_should_be_is_left_out(field: str, value: Any) -> None:
    image = read_record({"path": "/a", "generation_id": "g", field: value}, 0)
    assert image is not None
    assert getattr(image, field) is None


@pytest.mark.parametrize("path", ["/a\nb", "/a\x00", "/\ud800", "", 7, "/" + "a" * 5000])
def test_a_path_is_taken_as_it_is_or_not_at_all(path: Any) -> None:
    assert read_record({"path": path, "generation_id": "g"}, 0) is None


def test_half_of_a_surrogate_pair_in_a_prompt() -> None:
    image = read_record({"path": "/a", "generation_id": "g", "prompt": "x\ud800y\x07"}, 0)
    assert image is not None
    assert image.prompt == "x?y "


def test_other_peoples_images_are_not_ours() -> None:
    assert read_record({"url": "https://registry.example.com/image", "name": "debian"}, 0) is None
