"""What the generate operator leaves behind: names, records, sidecars, embedded facts, XComs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from dags_made_here import Bench, files_in, xcoms
from PIL import Image

from airflow_provider_qwenimage._compat import AIRFLOW_3
from airflow_provider_qwenimage.emulator import Emulator

PROMPT = 'Ein <Löwe> & "Freunde"\u3000风筝 👩\u200d🚀\nzweite Zeile'


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{generation_id}_{index}.{ext}", ["{id}_0.jpeg", "{id}_1.jpeg"]),
        ("{index}.{ext}", ["0.jpeg", "1.jpeg"]),
        ("{generation_id}/{index:02}.{ext}", ["{id}/00.jpeg", "{id}/01.jpeg"]),
        ("a/b/{{ params.what }}-{index}.{ext}", ["a/b/kites-0.jpeg", "a/b/kites-1.jpeg"]),
        ("{sha256}", None),
    ],
)
def test_files_are_named_by_the_template(
    template: str, names: list[str] | None, bench: Bench, service: Emulator, tmp_path: Path
):
    """file_name takes its placeholders and subfolders, is templated, and the records and paths agree with the disk."""
    run = bench.generate(num_outputs=2, output_path=f"file://{tmp_path}", file_name=template, params={"what": "kites"})
    assert run.state == "success", run.errors
    found = files_in(tmp_path)
    if names is None:
        assert set(found) == {sha256(content).hexdigest() for content in found.values()}
    else:
        generation_id = run.xcom("gen", "generation_id")
        assert list(found) == [name.replace("{id}", generation_id) for name in names]
    records = run.xcom("gen", "images")
    assert [record["path"] for record in records] == run.xcom("gen")
    assert sorted(path.removeprefix(f"file://{tmp_path}/") for path in run.xcom("gen")) == sorted(found)


@pytest.mark.parametrize("sidecar", [False, True])
@pytest.mark.parametrize("embed_metadata", [False, True])
@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_record_is_about_the_stored_file(
    image_format: str,
    embed_metadata: bool,
    sidecar: bool,
    bench: Bench,
    start: Callable[..., Emulator],
    tmp_path: Path,
):
    """bytes, sha256, size and type of a record are those of the stored file; embedding leaves every pixel as it was."""
    service = start(image_format=image_format)
    run = bench.generate(
        prompt=PROMPT, output_path=str(tmp_path), sidecar=sidecar, embed_metadata=embed_metadata, num_outputs=2
    )
    assert run.state == "success", run.errors
    records = run.xcom("gen", "images")
    assert len(files_in(tmp_path)) == (4 if sidecar else 2)
    for record in records:
        content = Path(record["path"]).read_bytes()
        assert (record["bytes"], record["sha256"]) == (len(content), sha256(content).hexdigest())
        assert record["content_type"] == f"image/{image_format}"
        image, original = _decoded(content), _decoded(_served(record["url"]))
        assert image.size == (record["width"], record["height"]) == original.size
        assert image.tobytes() == original.tobytes()
        assert (PROMPT in _prompt_in(image)) == embed_metadata
        if embed_metadata:
            assert record["generation_id"] in str(image.getxmp())
    assert service.report()["violations"] == []


def test_sidecar_says_who_made_what(bench: Bench, service: Emulator, tmp_path: Path):
    """The JSON beside an image holds its record and when it was saved, and neither a URL nor the key."""
    run = bench.generate(prompt=PROMPT, output_path=str(tmp_path), sidecar=True)
    (record,) = run.xcom("gen", "images")
    text = Path(f"{record['path']}.json").read_text(encoding="utf-8")
    facts = json.loads(text)
    assert {name: facts[name] for name in record if name != "url"} == {
        name: value for name, value in record.items() if name != "url"
    }
    assert set(facts) - set(record) == {"saved_at"}
    assert facts["prompt"] == PROMPT
    assert "风筝" in text
    assert "http" not in text
    assert service.api_key not in text


def test_long_prompts_are_embedded_as_far_as_they_fit(bench: Bench, service: Emulator, tmp_path: Path):
    """A JPEG has room for 64 KB of facts: of a longer prompt the start is kept, and the other facts whole."""
    prompt = "<風> & " * 20_000
    run = bench.generate(prompt=prompt, output_path=str(tmp_path), embed_metadata=True, sidecar=True)
    assert run.state == "success", run.errors
    (record,) = run.xcom("gen", "images")
    image = _decoded(Path(record["path"]).read_bytes())
    found = _prompt_in(image)
    assert found.endswith("…")
    assert len(found) > 3_000
    assert prompt.startswith(found[:-1])
    assert record["generation_id"] in str(image.getxmp())
    assert json.loads(Path(f"{record['path']}.json").read_text(encoding="utf-8"))["prompt"] == prompt


def test_without_output_path_the_urls_are_returned(bench: Bench, service: Emulator):
    """No output_path: the result URLs are returned and recorded, nothing is fetched, what only a file has is None."""
    run = bench.generate(num_outputs=2)
    records = run.xcom("gen", "images")
    assert run.xcom("gen") == [record["url"] for record in records]
    assert {record[name] for record in records for name in ("path", "width", "height", "bytes", "sha256")} == {None}
    assert [record["prompt"] for record in records] == ["a kite"] * 2
    assert service.report()["images_served"] == 0


@pytest.mark.parametrize("deferrable", [False, True])
def test_no_xcom_when_told_so(deferrable: bool, bench: Bench, service: Emulator, tmp_path: Path):
    """do_xcom_push=False is honoured for every XCom of ours, and the images are saved all the same."""
    run = bench.generate(output_path=str(tmp_path), do_xcom_push=False, deferrable=deferrable)
    assert run.state == "success", run.errors
    assert len(files_in(tmp_path)) == 1
    # Airflow 3 itself pushes the links, whatever the setting.
    assert not [key for key in xcoms(run.tis["gen", -1]) if not (AIRFLOW_3 and key.startswith("_link_"))]


@pytest.mark.parametrize("deferrable", [False, True])
def test_id_is_there_before_the_wait(deferrable: bool, bench: Bench, service: Emulator):
    """A wait that never ends leaves the generation id as an XCom: what was paid for can be found."""
    service.plan("create", "stuck")
    run = bench.generate(timeout=0.5, deferrable=deferrable)
    assert run.state == "failed"
    assert service.state.generation(run.xcom("gen", "generation_id")).state == "processing"
    assert run.error("gen").generation_id == run.xcom("gen", "generation_id")


def test_images_that_can_be_saved_are_saved(bench: Bench, service: Emulator, tmp_path: Path):
    """One broken image of three fails the task, but the others are on the disk and in the XCom."""
    service.plan("image", "http_error", status=404, times=1)
    run = bench.generate(num_outputs=3, output_path=str(tmp_path))
    assert run.state == "failed"
    assert len(files_in(tmp_path)) == len(run.xcom("gen", "images")) == 2
    assert run.xcom("gen") is None


def test_a_retry_saves_without_buying(bench: Bench, service: Emulator, tmp_path: Path):
    """A download that fails is tried again against the same generation: one purchase, one image."""
    service.plan("image", "truncated_image", times=2)
    service.plan("image", "http_error", status=500, times=1, skip=2)
    run = bench.generate(output_path=str(tmp_path))
    assert run.state == "success", run.errors
    report = service.report()
    assert (report["bought"], report["requests"]["image"]) == (1, 4)
    assert len(files_in(tmp_path)) == 1


def _served(url: str) -> bytes:
    import requests

    return requests.get(url, timeout=10).content


def _decoded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def _prompt_in(image: Image.Image) -> str:
    """The description in the image's XMP, as Pillow reads it; empty if there is none."""
    found: Any = image.getxmp()
    for name in ("xmpmeta", "RDF", "Description", "description", "Alt", "li"):
        found = (found or {}).get(name)
    return (found or {}).get("text", "")
