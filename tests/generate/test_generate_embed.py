"""``api.embed`` by properties: any facts into any image, and the image stays what it was."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_provider_qwenimage.api.embed import embed
from airflow_provider_qwenimage.api.images import inspect

# What can be in a prompt (no half surrogates) and in XML (few control characters).
IN_XML = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff", include_characters="\t\n\r")
SAVED_AS = {
    "plain": {},
    "progressive": {"progressive": True},
    "with Exif": {"exif": b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00"},
    "with a profile": {"icc_profile": b"profile" * 20_000},
    "grey": {},
}


def image_of(kind: str, how: str = "plain") -> bytes:
    file = io.BytesIO()
    image = Image.linear_gradient("L").resize((31, 17)).convert("L" if how == "grey" else "RGB")
    image.save(file, kind, **SAVED_AS[how])
    return file.getvalue()


IMAGES = {(kind, how): image_of(kind, how) for kind in ("JPEG", "PNG") for how in SAVED_AS}


def embedded(content: bytes, **facts: Any) -> bytes | None:
    target = io.BytesIO()
    return target.getvalue() if embed(io.BytesIO(content), target, facts) else None


def decoded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def description(content: bytes) -> dict[str, Any]:
    found: Any = decoded(content).getxmp()
    return found["xmpmeta"]["RDF"]["Description"]


@pytest.mark.parametrize(("kind", "how"), IMAGES)
@settings(deadline=None, max_examples=50)
@given(prompt=st.text(IN_XML, max_size=200))
@example(prompt='<风筝> & "Freunde" ]]> <?xpacket end?> 👩\u200d🚀\u3000\u00a0x')
@example(prompt="")
def test_facts_are_read_back_and_pixels_stay(kind: str, how: str, prompt: str):
    """Any prompt in any kind of JPEG or PNG: Pillow decodes the same pixels and reads the facts."""
    content = IMAGES[kind, how]
    found = embedded(content, prompt=prompt, model_id="0-24", generation_id="g1", created="2026-01-01T00:00:00+00:00")
    assert found is not None
    assert inspect(io.BytesIO(found)) == inspect(io.BytesIO(content))
    assert decoded(found).tobytes() == decoded(content).tobytes()
    assert decoded(found).info.get("icc_profile") == decoded(content).info.get("icc_profile")
    read = description(found)
    text = read["description"]["Alt"]["li"]
    assert (text.get("text") or "") == prompt or not prompt.strip()
    assert read["identifier"] == "g1"
    assert "0-24" in read["CreatorTool"]
    assert read["DigitalSourceType"].endswith("/trainedAlgorithmicMedia")


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.integers(0, 3_000))
def test_no_prompt_breaks_an_image(prompt: str, times: int):
    """Control characters and any length: the image is still whole, and its facts are still XML."""
    content = IMAGES["JPEG", "plain"]
    found = embedded(content, prompt=prompt * times, generation_id="g1")
    assert found is not None
    assert decoded(found).tobytes() == decoded(content).tobytes()
    assert description(found)["identifier"] == "g1"


@pytest.mark.parametrize("char", ["a", "&", "风", "👩"])
def test_a_jpeg_takes_what_fits(char: str):
    """A prompt is cut where the segment is full, not before: 64 KB less the other facts; a PNG takes it whole."""
    prompt = char * 70_000
    found = embedded(IMAGES["JPEG", "plain"], prompt=prompt, generation_id="g1")
    assert found is not None
    assert 65_500 < len(found) - len(IMAGES["JPEG", "plain"]) <= 65_537
    text = description(found)["description"]["Alt"]["li"]["text"]
    assert text == prompt[: len(text) - 1] + "…"
    whole = embedded(IMAGES["PNG", "plain"], prompt=prompt, generation_id="g1")
    assert whole is not None
    assert len(whole) > len(prompt.encode())


@given(st.binary(max_size=64))
@example(b"RIFF\x00\x00\x00\x00WEBPVP8 ")
@example(b"GIF89a")
@example(b"")
def test_other_kinds_are_left_alone(content: bytes):
    """What is neither JPEG nor PNG is not touched: nothing is written."""
    if not content.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        assert embedded(content, prompt="a kite") is None
