"""`make live` against the emulator: what it asks, buys, keeps and finds strange."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_qwenimage.emulator import Emulator

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"
# What main() does after it has made .venv: the tests bring an environment of their own.
RUN = """
import sys
from pathlib import Path
from processes import Failure
import live
key, url, place, *arguments = sys.argv[1:]
try:
    sys.exit(live.run(key, url, Path(place), arguments))
except Failure as failure:
    sys.exit(str(failure))
"""


@pytest.fixture
def live(qwenimage_emulator: Emulator, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the live check against the emulator."""

    def run(*arguments: str, key: str | None = None, typed: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", RUN, key or qwenimage_emulator.api_key, qwenimage_emulator.url, str(tmp_path)]
        env = os.environ | {"PYTHONPATH": str(SCRIPTS)}
        return subprocess.run(
            [*command, *arguments], env=env, input=typed, capture_output=True, text=True, timeout=120, check=False
        )

    return run


def replies(tmp_path: Path) -> tuple[str, Any]:
    (file,) = tmp_path.glob("*/replies.json")
    text = file.read_text(encoding="utf-8")
    return text, json.loads(text)


def test_two_images_are_bought_saved_and_accounted_for(
    live: Callable[..., Any], qwenimage_emulator: Emulator, tmp_path: Path
) -> None:
    done = live(typed="yes\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This buys 2 images." in done.stdout
    assert done.stdout.count("1 credits taken, at create") == 2
    assert "Nothing differs from the published contract." in done.stdout
    report = qwenimage_emulator.report()
    assert (report["bought"], report["uploads"], report["violations"]) == (2, 1, [])
    assert sorted(path.name for path in tmp_path.glob("*/*.jpeg")) == ["image-to-image-0.jpeg", "text-to-image-0.jpeg"]
    calls = {reply["call"] for reply in replies(tmp_path)[1]["replies"]}
    assert calls == {"create", "get", "get_credits", "pre_url"}


def test_no_secret_is_kept(live: Callable[..., Any], qwenimage_emulator: Emulator, tmp_path: Path) -> None:
    done = live("--yes")
    text, content = replies(tmp_path)
    assert qwenimage_emulator.api_key not in text + done.stdout + done.stderr
    (form,) = [reply["body"]["data"]["upload_url"] for reply in content["replies"] if reply["call"] == "pre_url"]
    assert {form["fields"][name] for name in ("policy", "x-amz-signature", "x-amz-credential")} == {"***"}
    urls = [url for reply in content["replies"] for url in reply["body"]["data"].get("result_urls", [])]
    assert urls
    assert all(url.endswith("?***") for url in urls)


@pytest.mark.parametrize("typed", ["no\n", "y\n", "\n", ""])
def test_nothing_is_bought_without_a_yes(typed: str, live: Callable[..., Any], qwenimage_emulator: Emulator) -> None:
    done = live(typed=typed)
    assert done.returncode == 1
    assert "Nothing was bought." in done.stdout
    assert qwenimage_emulator.report()["bought"] == 0


def test_a_wrong_key_is_a_sentence(live: Callable[..., Any]) -> None:
    done = live("--yes", key="key_wrong")
    assert done.returncode == 1
    assert "Invalid API KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("endpoint", "kind", "fault", "said"),
    [
        ("create", "data", {"set": {"queue": 3}}, "create: data.queue is not published (int)"),
        ("create", "data", {"set": {"estimated_time": 1.5}}, "create: data.estimated_time is float, where int is"),
        ("create", "data", {"delete": ["estimated_time"]}, "create: data.estimated_time is missing"),
        ("create", "data", {"set": {"estimated_time": 40}}, "create: estimated_time was 40 s, and the generation took"),
        ("get", "data", {"set": {"status": 1, "result_urls": "no"}}, "get: data.result_urls is str, where list is"),
        ("get_credits", "data", {"set": {"credits": 12.5}}, "get_credits: data.credits is float, where int is"),
        ("get", "http_error", {"status": 503}, "get: HTTP status 503, where 200 is published"),
        ("get", "html", {}, "get: the body is no JSON"),
        ("image", "mislabelled", {"actual": "png"}, "image: image/png, where image/jpeg is in the published samples"),
    ],
)
def test_a_difference_is_told(
    endpoint: str,
    kind: str,
    fault: dict[str, Any],
    said: str,
    live: Callable[..., Any],
    qwenimage_emulator: Emulator,
    tmp_path: Path,
) -> None:
    qwenimage_emulator.plan(endpoint, kind, **fault)
    done = live("--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"  - {said}" in done.stdout
    assert any(text.startswith(said) for text in replies(tmp_path)[1]["strange"])


def test_another_host_is_told(live: Callable[..., Any], qwenimage_emulator: Emulator) -> None:
    elsewhere = qwenimage_emulator.url.replace("127.0.0.1", "localhost") + "/images/x.jpeg"
    qwenimage_emulator.plan("get", "data", set={"status": 2, "result_urls": [elsewhere]})
    done = live("--yes")
    assert "  - get: a URL is on localhost, which is not published" in done.stdout
    assert done.returncode == 1  # and there is no such image


def test_an_order_that_fails_is_reported_too(live: Callable[..., Any], qwenimage_emulator: Emulator) -> None:
    qwenimage_emulator.set_credits(1)
    done = live("--yes")
    assert done.returncode == 1
    assert "Credits not enough" in done.stderr
    assert "create: refused with code 0: Credits not enough" in done.stdout
