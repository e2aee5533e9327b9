"""Who sees what: every request is checked by Airflow's own rules, and refusals tell nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from ui_denying import DenyingAuthManager
from ui_world import World, saved, token

from airflow_provider_qwenimage.ui.urls import images_url

CONTENT = ("a blue house", "house.png", "ggggg", "64 ×")  # a bare number may stand in a run's id


@pytest.fixture
def recorded(world: World, tmp_path: Path) -> World:
    world.record([saved(tmp_path / "house.png", prompt="a blue house")])
    world.record([saved(tmp_path / "hidden.png", prompt="hidden thing")], dag_id="ui_secret")
    return world


def address(world: World, **place: Any) -> str:
    at = world.place(**place)
    return images_url(at["dag_id"], at["run_id"], at["task_id"], at["map_index"])


def image_address(world: World, index: int = 0, **place: Any) -> str:
    return address(world, **place).replace("/images?", "/image?") + f"&index={index}"


def all_addresses(world: World) -> list[str]:
    run = world.place()["run_id"]
    return [
        "/qwenimage/", "/qwenimage/?page=2", address(world), image_address(world),
        images_url("ui_pictures"), images_url("ui_pictures", run), images_url("no_such_dag"),
        "/qwenimage/dags/~/images", "/qwenimage/dags/ui_pictures/image?index=zero",
    ]  # fmt: skip


def test_readers_see(recorded: World) -> None:
    with recorded.visitor() as ann:
        page = ann.get(address(recorded))
        assert page.status_code == 200
        assert "a blue house" in page.text
        assert ann.get(image_address(recorded)).headers["content-type"] == "image/png"


def test_logged_out_is_refused_everywhere(recorded: World) -> None:
    with recorded.visitor(None) as nobody:
        for path in all_addresses(recorded):
            answer = nobody.get(path)
            assert answer.status_code == 401, path
            assert not any(word in answer.text for word in CONTENT)
            assert "/api/v2/auth/login?next=" in answer.text


@pytest.mark.parametrize("wrong", ["", "nonsense", "a.b.c", "Bearer x"])
def test_wrong_token_is_refused(recorded: World, wrong: str) -> None:
    with recorded.visitor(None) as nobody:
        nobody.cookies.set("_token", wrong)
        assert {nobody.get(path).status_code for path in all_addresses(recorded)} <= {401, 403}


def test_bearer_token_works_as_for_the_rest_api(recorded: World) -> None:
    with recorded.visitor(None) as script:
        headers = {"Authorization": f"Bearer {token('ann', 'VIEWER')}"}
        assert script.get(image_address(recorded), headers=headers).status_code == 200


def test_user_without_role_is_refused(recorded: World) -> None:
    with recorded.visitor("bob", None) as bob:
        for path in all_addresses(recorded)[2:]:
            answer = bob.get(path)
            assert answer.status_code == 403, path
            assert not any(word in answer.text for word in CONTENT)
        newest = bob.get("/qwenimage/")
        assert newest.status_code == 200
        assert "No images here yet" in newest.text
        assert "ui_pictures" not in newest.text


@pytest.mark.parametrize("entity", [None, "XCOM", "TASK_INSTANCE"])
def test_user_without_the_dag_is_refused(recorded: World, entity: str | None) -> None:
    DenyingAuthManager.denied.add(("ann", "ui_secret", entity))
    with recorded.visitor() as ann, recorded.visitor("admin", "ADMIN") as admin:
        for path in (
            address(recorded, dag_id="ui_secret"), image_address(recorded, dag_id="ui_secret"),
            images_url("ui_secret"), images_url("ui_secret", recorded.runs["ui_secret"]),
        ):  # fmt: skip
            refused = ann.get(path)
            assert refused.status_code == 403, path
            assert "hidden" not in refused.text
            assert admin.get(path).status_code == 200
        assert "a blue house" in ann.get("/qwenimage/").text
        assert "hidden thing" not in ann.get("/qwenimage/").text
        assert "ui_secret" not in ann.get("/qwenimage/").text
        assert "hidden thing" in admin.get("/qwenimage/").text


def test_the_checked_dag_is_the_shown_one(recorded: World) -> None:
    """A second ``dag_id`` in the query is neither checked nor used."""
    DenyingAuthManager.denied.add(("ann", "ui_secret", None))
    with recorded.visitor() as ann:
        for path in (address(recorded, dag_id="ui_secret"), image_address(recorded, dag_id="ui_secret")):
            assert ann.get(f"{path}&dag_id=ui_pictures").status_code == 403
        mixed = address(recorded).replace(
            f"run_id={recorded.runs['ui_pictures']}", f"run_id={recorded.runs['ui_secret']}"
        )
        assert "hidden thing" not in ann.get(f"{mixed}&dag_id=ui_secret").text
        assert "hidden thing" not in ann.get("/qwenimage/dags/~/images?dag_id=ui_secret").text


def test_permission_taken_away_counts_at_once(recorded: World) -> None:
    with recorded.visitor() as ann:
        first = ann.get(image_address(recorded))
        known = {"If-None-Match": first.headers["etag"]}
        assert ann.get(image_address(recorded), headers=known).status_code == 304
        DenyingAuthManager.denied.add(("ann", "ui_pictures", None))
        assert ann.get(image_address(recorded), headers=known).status_code == 403


def test_only_reading(recorded: World) -> None:
    with recorded.visitor("admin", "ADMIN") as admin:
        for path in all_addresses(recorded):
            assert admin.post(path).status_code == 405
        for path in ("docs", "redoc", "openapi.json"):
            assert admin.get(f"/qwenimage/{path}").status_code == 404


def test_password_login(recorded: World) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    with recorded.visitor(None) as somebody:
        passwords = json.loads(Path(SimpleAuthManager.get_generated_password_file()).read_text())
        login = {"username": "ann", "password": passwords["ann"]}
        key = somebody.post("/auth/token", json=login).json()["access_token"]
        somebody.cookies.set("_token", key)
        assert somebody.get(address(recorded)).status_code == 200


def test_refusals_do_not_tell_what_exists(recorded: World) -> None:
    """Who may not read a DAG learns neither its runs nor its tasks nor how many images there are."""
    DenyingAuthManager.denied.add(("ann", "ui_secret", "XCOM"))
    place = recorded.place(dag_id="ui_secret")
    there = image_address(recorded, dag_id="ui_secret")
    nowhere = [
        there.replace("task_id=make", "task_id=none"),
        there.replace("index=0", "index=9"),
        there.replace("index=0", "index=zero"),
        there.replace("index=0", "index=0&map_index=7"),
        images_url("ui_secret", "no_such_run"),
        f"{images_url('ui_secret', place['run_id'])}&page=400",
        f"{images_url('ui_secret', place['run_id'])}&page=zero",
    ]
    with recorded.visitor() as ann, recorded.visitor(None) as nobody:
        for visitor, status in ((ann, 403), (nobody, 401)):
            answers = [visitor.get(path) for path in (there, *nowhere)]
            assert {answer.status_code for answer in answers} == {status}
            bodies = {answer.text.partition("/api/v2/auth/login?next=")[0] for answer in answers}
            assert len({body.partition("<body>")[2] for body in bodies}) == 1


@pytest.mark.parametrize("flaw", ["expired", "for tasks", "other key", "no signature"])
def test_tokens_that_airflow_did_not_make_for_this(recorded: World, flaw: str) -> None:
    """Neither an old one, nor one that a task has for the execution API, which is signed with the same secret."""
    import jwt
    from airflow.configuration import conf

    claims = jwt.decode(token("admin", "ADMIN"), options={"verify_signature": False})
    secret, algorithm = conf.get("api_auth", "jwt_secret"), "HS512"
    good = jwt.encode(claims, secret, algorithm)
    if flaw == "expired":
        claims |= {"exp": 1_790_000_000, "iat": 1_789_990_000, "nbf": 1_789_990_000}
    elif flaw == "for tasks":
        claims["aud"] = "urn:airflow.apache.org:task"
    elif flaw == "other key":
        secret = "y" * 64
    else:
        secret, algorithm = "", "none"
    bad = jwt.encode(claims, secret, algorithm)
    path = image_address(recorded, dag_id="ui_secret")
    with recorded.visitor(None) as somebody:
        assert somebody.get(path, headers={"Authorization": f"Bearer {good}"}).status_code == 200
        for given in ({"headers": {"Authorization": f"Bearer {bad}"}}, {"cookies": {"_token": bad}}):
            answer = somebody.get(path, **given)
            assert answer.status_code in (401, 403), answer.text
            assert "hidden" not in answer.text


@pytest.mark.parametrize("start", ["//evil.example.com", "/\\evil.example.com", "https://evil.example.com"])
def test_the_way_to_the_login_comes_back_here(recorded: World, start: str) -> None:
    """Whatever address was asked for, after the login one is on this server again."""
    with recorded.visitor(None) as nobody:
        answer = nobody.get(f"/qwenimage/{start}", params={"next": start})
        assert answer.status_code in (401, 404)
        for target in re.findall(r"next=([^\"&]*)", answer.text):
            assert unquote(target).startswith("/qwenimage/")
