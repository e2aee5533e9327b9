"""The control face, the in-process one, and what is remembered."""

from __future__ import annotations

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.emulator.bounded import BoundedBytes
from airflow_provider_qwenimage.emulator.contract import Order
from airflow_provider_qwenimage.emulator.options import Options
from airflow_provider_qwenimage.emulator.state import State


def control(caller, method, path, body=None):
    return requests.request(method, f"{caller.emulator.url}/_emulator/{path}", json=body, timeout=10)


def test_the_report_is_the_same_in_process_and_over_http(caller):
    caller.generate()
    caller.post("create", {})
    caller.emulator.plan("get", "html", times=3)
    report = control(caller, "GET", "report").json()
    assert report == caller.emulator.report()
    assert report == {
        "requests": {"create": 2, "get": 1, "get_credits": 0, "pre_url": 0, "upload": 0, "image": 0, "other": 0},
        "bought": 1,
        "refused": 1,
        "images_served": 0,
        "uploads": 0,
        "faults_used": 0,
        "credits_spent": 1,
        "generations": {"processing": 0, "completed": 1, "failed": 0},
        "violations": [{"endpoint": "create", "message": "prompt is required"}],
        "faults": [
            {"endpoint": "get", "kind": "html", "status": 200, "times": 3, "probability": 1, "skip": 0, "used": 0}
        ],
    }


def test_the_log_shows_requests_but_never_the_key(caller):
    caller.post("get", {"task_id": "é"})
    caller.post("get", json=None, data=b"{", headers={})
    log = control(caller, "GET", "requests").json()
    assert log == caller.emulator.requests()
    first, second = log
    assert (first["endpoint"], first["method"], first["path"], first["query"]) == ("get", "POST", "/api/task/get", "")
    assert (first["body"], first["api_key_present"]) == ({"task_id": "é"}, True)
    assert first["headers"]["api-key"] == "***"
    assert first["headers"]["content-type"] == "application/json"
    assert (second["body"], second["api_key_present"]) == (None, False)
    assert caller.emulator.api_key not in str(log)


def test_faults_are_planned_and_forgotten(caller):
    plans = [{"endpoint": "get", "kind": "html"}, {"endpoint": "create", "kind": "fail", "times": 2}]
    assert control(caller, "POST", "faults", plans).json() == {"ok": True}
    assert control(caller, "POST", "faults", plans[0]).json() == {"ok": True}
    assert [fault["kind"] for fault in caller.emulator.report()["faults"]] == ["html", "fail", "html"]
    assert control(caller, "DELETE", "faults").json() == {"ok": True}
    assert caller.emulator.report()["faults"] == []


def test_reset_forgets_everything(caller):
    generation_id = caller.create()
    caller.emulator.plan("*", "http_error")
    fresh = Emulator().report()
    assert control(caller, "POST", "reset").json() == {"ok": True}
    assert caller.emulator.report() == fresh
    assert caller.emulator.requests() == []
    assert caller.post("get", {"task_id": generation_id}).json()["message"] == "Task not found"


def test_credits_and_accounts_are_set(caller):
    control(caller, "POST", "credits", {"credits": 7})
    assert caller.data("get_credits") == {"credits": 7}
    control(caller, "POST", "credits", {"api_key": "key_2", "credits": 8})
    caller.headers["Api-Key"] = "key_2"
    assert caller.data("get_credits") == {"credits": 8}
    control(caller, "POST", "credits", {"api_key": "key_2", "credits": 8, "enabled": False})
    assert caller.post("get_credits").json() == {"code": 0, "message": "Invalid API KEY"}


@pytest.mark.parametrize("fate", ["completed", "failed"])
def test_a_generation_is_ended_by_hand(caller, clock, fate):
    caller.emulator.plan("create", "stuck")
    for generation_id in (caller.create(), caller.create()):
        assert control(caller, "POST", f"generations/{generation_id}", {"state": fate}).json() == {"ok": True}
        assert caller.get(generation_id)["status"] == {"completed": 2, "failed": 3}[fate]
    clock.move(100)
    assert caller.emulator.report()["generations"][fate] == 2
    again = control(caller, "POST", f"generations/{generation_id}", {"state": fate})
    assert (again.status_code, again.json()) == (400, {"error": f"The generation is already {fate}"})


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("faults", "html", 400),
        ("faults", None, 400),
        ("credits", {"credits": True}, 400),
        ("credits", {"credits": 1, "price": 2}, 400),
        ("credits", [1], 400),
        ("generations/x", {"state": "completed"}, 404),
        ("generations/x", {"state": "processing"}, 400),
    ],
)
def test_what_the_control_face_does_not_understand_is_refused(caller, path, body, status):
    answer = control(caller, "POST", path, body)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_a_body_that_is_no_json_is_refused_by_the_control_face(caller):
    assert requests.post(f"{caller.emulator.url}/_emulator/faults", data=b"{").status_code == 400


def test_memory_is_bounded(start, clock, photo):
    caller = start(max_generations=5, max_entries=6, max_bytes=3000, image_size=64)
    caller.emulator.plan("create", "stuck")
    stuck, *finished = (caller.create() for _ in range(4))
    clock.move(10)
    caller.emulator.plan("create", "stuck", times=1000)
    later = [caller.create() for _ in range(4)]
    # The finished ones went first, though another is older.
    assert [caller.post("get", {"task_id": generation}).json()["code"] for generation in finished] == [0, 0, 0]
    assert [caller.get(generation)["status"] for generation in (stuck, *later)] == [1] * 5
    form = caller.data("pre_url", {"image_name": "a.png", "content_type": "image/png"})["upload_url"]
    for _ in range(10):
        caller.post("create", {})
        caller.upload(photo)
    state = caller.emulator.state
    assert len(state.requests()) == 6
    assert len(state.report()["violations"]) == 6
    assert state.uploads.size <= 3000
    assert state.report()["bought"] == 8
    assert state.form(form["fields"]["key"]) is None


def test_generations_that_never_end_are_bounded_too(clock):
    state = State(Options(max_generations=10, duration=1000, credits=1000), clock=clock, rng=random.Random(0))
    account = state.account(Options().api_key)
    generations = [state.buy(account, Order("x", 1, "16:9", None), None, None) for _ in range(100)]
    assert state.report()["generations"] == {"processing": 10, "completed": 0, "failed": 0}
    assert len(state._generations._due) <= 2 * 10
    assert state.generation(generations[-10].id).state == "processing"
    clock.move(1000)
    assert state.report()["generations"] == {"processing": 0, "completed": 10, "failed": 0}


def test_the_least_recently_used_bytes_go_first():
    kept = BoundedBytes(10)
    for name in "abc":
        kept.put(name, b"1234" if name != "c" else b"12")
    assert kept.get("a") == b"1234"
    kept.put("d", b"1234")
    assert (kept.get("a"), kept.get("b"), kept.size) == (b"1234", None, 10)
    kept.put("e", b"x" * 11)
    assert (kept.get("e"), kept.size) == (None, 0)


def test_many_callers_at_once_are_counted_right(caller):
    with ThreadPoolExecutor(16) as pool:
        generations = list(pool.map(lambda _: caller.create(), range(100)))
    assert len(set(generations)) == 100
    report = caller.emulator.report()
    assert (report["bought"], report["credits_spent"], report["generations"]["processing"]) == (100, 100, 100)


def test_nothing_is_left_over(caller):
    before = set(threading.enumerate())
    with Emulator(duration=0, image_size=64) as emulator:
        other = type(caller)(emulator, caller.clock)
        generation_id = other.create()
        url = other.get(generation_id)["result_urls"][0]
        assert requests.get(url).ok
        where = emulator.url
    assert set(threading.enumerate()) == before
    with pytest.raises(requests.ConnectionError):
        requests.get(where)


def test_two_emulators_are_strangers(start):
    one, two = start(api_key="key_1"), start(api_key="key_2")
    assert two.post("get_credits", headers=one.headers).json()["code"] == 0


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    for module in ("uvicorn", "airflow_provider_qwenimage.emulator.server"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    import airflow_provider_qwenimage.emulator as package

    with pytest.raises(ImportError, match=r"pip install 'airflow-provider-qwenimage\[emulator\]'"):
        _ = package.Emulator
    with pytest.raises(AttributeError):
        _ = package.Emulater
