"""What the pages show, and that nothing which a task recorded can do more than be shown."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from test_ui_access import address, image_address
from test_ui_records import RECORDS
from ui_world import HOST, World, saved

from airflow_provider_qwenimage.ui import xcoms
from airflow_provider_qwenimage.ui.urls import images_url

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


class Tags(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def check_harmless(text: str, policy: str) -> Tags:
    """No script but ours, no attribute that runs something, no address but harmless ones."""
    tags = Tags(text)
    nonce = re.search(r"script-src 'nonce-([\w-]{20,})'", policy)
    assert nonce
    assert [script["nonce"] for script in tags.of("script")] == [nonce[1]]
    for _, attrs in tags.found:
        assert not [name for name in attrs if name.startswith("on") or name in ("style", "srcdoc", "action")]
        for name in {"href", "src"} & set(attrs):
            assert re.match(r"/[a-z]|#main|https://|http://(127\.0\.0\.1|localhost)\b", str(attrs[name]))
    return tags


def test_page_of_a_task(world: World, ann: TestClient, tmp_path: Path) -> None:
    facts = {"prompt": "a blue house", "model_id": "0-24", "seconds": 12.34, "width": 1328, "height": 1328}
    world.record([saved(tmp_path / "a.png", **facts)])
    page = ann.get(address(world))
    tags = check_harmless(page.text, page.headers["content-security-policy"])
    (img,) = tags.of("img")
    assert img["alt"] == "a blue house"
    assert img["src"] == image_address(world).replace("&index", "&map_index=-1&index")
    for text in ("1328 × 1328", "12.3 s", "0-24", " bytes", str(tmp_path / "a.png")):
        assert text in page.text
    run = world.runs["ui_pictures"].replace(":", "%3A").replace("+", "%2B")
    assert f'href="/dags/ui_pictures/runs/{run}/tasks/make"' in page.text
    assert page.headers["cache-control"] == "no-store"


def test_policy(ann: TestClient) -> None:
    policy = ann.get("/qwenimage/").headers["content-security-policy"]
    for part in (
        "default-src 'none'",
        "img-src 'self';",
        "style-src 'self'",
        "frame-ancestors 'self'",
        "base-uri 'none'",
    ):
        assert part in policy
    assert "unsafe" not in policy


def test_pages_of_mapped_tasks_and_of_the_run(world: World, ann: TestClient, tmp_path: Path) -> None:
    world.record([saved(tmp_path / "a.png", prompt="first one")], task_id="many", map_index=0)
    world.record([saved(tmp_path / "b.png", prompt="second one")], task_id="many", map_index=1)
    world.record([saved(tmp_path / "c.png", prompt="third one")])
    run = world.runs["ui_pictures"]

    def prompts(path: str) -> set[str]:
        return {str(img["alt"]).partition(" ")[0] for img in Tags(ann.get(path).text).of("img")}

    assert prompts(images_url("ui_pictures", run, "many", 1)) == {"second"}
    assert prompts(images_url("ui_pictures", run, "many")) == {"first", "second"}
    assert prompts(images_url("ui_pictures", run)) == {"first", "second", "third"}
    assert prompts("/qwenimage/") == {"first", "second", "third"}
    mapped = ann.get(images_url("ui_pictures", run, "many", 1)).text
    assert "/tasks/many/mapped/1" in mapped
    for img in Tags(ann.get(images_url("ui_pictures", run)).text).of("img"):
        assert ann.get(str(img["src"])).status_code == 200


def test_newest_is_paged(world: World, ann: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xcoms, "PAGE", 2)
    for map_index in (0, 1):
        world.record([saved(tmp_path / f"{map_index}.png")], task_id="many", map_index=map_index)
    world.record([saved(tmp_path / "c.png")])
    world.record([saved(tmp_path / "d.png")], dag_id="ui_secret")
    first, second = ann.get("/qwenimage/").text, ann.get("/qwenimage/?page=2").text
    assert (len(Tags(first).of("img")), len(Tags(second).of("img"))) == (2, 2)
    assert 'href="/qwenimage/?page=2"' in first
    assert 'href="/qwenimage/?page=1"' in second
    assert ann.get("/qwenimage/?page=500").status_code == 200
    assert ann.get("/qwenimage/?page=0").status_code == 404


def test_many_images_of_one_task(world: World, ann: TestClient, tmp_path: Path) -> None:
    world.record([saved(tmp_path / "a.png")] * 600)
    newest, own = ann.get("/qwenimage/").text, ann.get(address(world)).text
    assert len(Tags(newest).of("img")) == 12
    assert "588 more are not shown here" in newest
    assert len(Tags(own).of("img")) == 500


def test_nasty_texts_are_only_shown(world: World, ann: TestClient, tmp_path: Path) -> None:
    words = dict.fromkeys(("prompt", "model_id", "generation_id"), NASTY)
    nowhere = {"path": f"/x/{NASTY}", "url": f"https://a.b.com/{NASTY}", **words}
    world.record([saved(tmp_path / "a.png", **words), nowhere, {**nowhere, "path": None}])
    for path in (
        address(world),
        "/qwenimage/",
        images_url("ui_pictures", NASTY),
        images_url("ui_pictures", task_id=NASTY),
    ):
        page = ann.get(path)
        check_harmless(page.text, page.headers["content-security-policy"])
    assert "&lt;script&gt;alert(1)" in ann.get(address(world)).text
    assert "{{ 7*7 }}" in ann.get(address(world)).text


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(RECORDS, max_size=4))
def test_pages_stand_whatever_is_recorded(world: World, ann: TestClient, records: list[Any]) -> None:
    world.record(records)
    for path in (address(world), "/qwenimage/"):
        page = ann.get(path)
        assert page.status_code == 200
        check_harmless(page.text, page.headers["content-security-policy"])


@pytest.mark.parametrize(
    "raw",
    ["null", "1", '"s3://elsewhere/xcom"', "{}", "[" * 5000 + "]" * 5000, "[" + "9" * 5000 + "]", "nonsense", ""],
    ids=lambda raw: raw[:20],
)
def test_what_is_no_list_of_images_is_told(world: World, ann: TestClient, tmp_path: Path, raw: str) -> None:
    world.record_raw(raw)
    world.record([saved(tmp_path / "b.png", prompt="still here")], task_id="many", map_index=1)
    page = ann.get(address(world))
    assert page.status_code == 200
    text = html.unescape(page.text)
    assert ("is not a list of images" in text) or ("can't be read as images" in text)
    assert "still here" in ann.get("/qwenimage/").text
    assert "still here" in ann.get(images_url("ui_pictures", world.runs["ui_pictures"])).text


def test_too_long_is_told(world: World, ann: TestClient, tmp_path: Path) -> None:
    world.record([saved(tmp_path / "a.png", prompt="x" * xcoms.LONGEST)])
    assert "too long to be shown" in ann.get(address(world)).text


def test_other_peoples_images_are_left_out(world: World, ann: TestClient, tmp_path: Path) -> None:
    """The key is a word that other tasks use too."""
    world.record([{"url": "https://registry.example.com/debian"}, "debian:12"], task_id="many", map_index=0)
    world.record([saved(tmp_path / "b.png", prompt="ours")])
    for path in ("/qwenimage/", images_url("ui_pictures", world.runs["ui_pictures"])):
        page = ann.get(path).text
        assert [img["alt"] for img in Tags(page).of("img")] == ["ours"]
        assert "many" not in page


def test_some_entries_unreadable(world: World, ann: TestClient, tmp_path: Path) -> None:
    world.record([None, saved(tmp_path / "a.png"), "x", {"generation_id": "g"}])
    page = ann.get(address(world))
    assert "3 of the entries" in page.text
    (img,) = Tags(page.text).of("img")
    assert ann.get(str(img["src"])).status_code == 200


def test_json_in_json(world: World, ann: TestClient, tmp_path: Path) -> None:
    world.record(json.dumps([saved(tmp_path / "a.png")]))
    assert len(Tags(ann.get(address(world)).text).of("img")) == 1


def test_unsaved_image_is_loaded_by_the_browser(world: World, ann: TestClient) -> None:
    world.record([{"url": "https://img.example.com:8443/a.png?sig=1&x=2", "prompt": "p", "generation_id": "g"}])
    page = ann.get(address(world))
    (img,) = Tags(page.text).of("img")
    assert img["src"] == "https://img.example.com:8443/a.png?sig=1&x=2"
    assert img["referrerpolicy"] == "no-referrer"
    assert "img-src 'self' https://img.example.com:8443;" in page.headers["content-security-policy"]
    assert "Not saved" in page.text
    assert ann.get(image_address(world)).status_code == 404


def test_emulators_image_shows_on_its_own_machine_only(world: World, ann: TestClient) -> None:
    world.record([{"url": "http://127.0.0.1:8089/images/a.png", "generation_id": "g"}])
    assert not Tags(ann.get(address(world)).text).of("img")
    ann.base_url = "http://localhost:8080"  # type: ignore[assignment]
    from ui_world import token

    page = ann.get(address(world), headers={"Authorization": f"Bearer {token('ann', 'VIEWER')}"})
    assert len(Tags(page.text).of("img")) == 1
    assert HOST not in page.text


def test_below_a_path_prefix(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://data.example.com/team/airflow/")
    monkeypatch.setattr(world.app, "root_path", "/team/airflow")
    world.record([saved(tmp_path / "a.png")])
    with world.visitor() as ann:
        page = ann.get(address(world))
        assert page.status_code == 200
        for tag, name in (("img", "src"), ("link", "href"), ("script", "src"), ("a", "href")):
            for attrs in Tags(page.text).of(tag):
                assert str(attrs[name]).startswith(("/team/airflow/", "#"))
        assert ann.get(image_address(world)).status_code == 200
    with world.visitor(None) as nobody:
        refused = nobody.get(address(world))
        assert refused.status_code == 401
        assert "/team/airflow/api/v2/auth/login?next=%2Fteam%2Fairflow%2Fqwenimage%2F" in refused.text
