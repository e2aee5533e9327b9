"""What the contract page says, and what is said to those who break it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXT_TO_IMAGE = """{"prompt": "a beautiful landscape with mountains", "model_id": "0-24",
 "options": {"prompt_optimization": true, "num_outputs": 1, "aspect_ratio": "16:9"}}"""


def test_the_published_text_to_image_example(caller, clock):
    answer = caller.post("create", json=None, data=TEXT_TO_IMAGE).json()
    generation_id = answer["data"]["task_id"]
    assert answer == {
        "code": 1,
        "message": "success",
        "data": {"task_id": generation_id, "estimated_time": 10},
    }
    assert len(generation_id) == 32
    assert caller.post("get", {"task_id": generation_id}).json() == {
        "code": 1,
        "message": "success",
        "data": {"task_id": generation_id, "status": 1},
    }
    clock.move(10)
    data = caller.get(generation_id)
    assert data["status"] == 2
    assert f"/images/{generation_id}_0.jpeg?" in data["result_urls"][0]
    assert caller.emulator.report()["violations"] == []


def test_the_published_image_to_image_example_made_from_a_result(caller):
    (url,) = caller.generate()
    order = {
        "prompt": "turn this into a watercolor painting",
        "image_urls": [url],
        "model_id": "0-24",
        "options": {"prompt_optimization": True, "num_outputs": 1},
    }
    assert caller.post("create", order).json()["code"] == 1


def test_get_credits_answers_without_a_message(caller):
    assert caller.post("get_credits").json() == {"code": 1, "data": {"credits": 500}}
    assert caller.post("get_credits", {}).json()["code"] == 1


def test_several_outputs_have_urls_in_order(caller):
    urls = caller.generate(num_outputs=4)
    assert [url.partition("?")[0][-7:] for url in urls] == ["_0.jpeg", "_1.jpeg", "_2.jpeg", "_3.jpeg"]


def test_pre_url_hands_out_the_published_fields(caller):
    data = caller.data("pre_url", {"image_name": "photo.jpg", "content_type": "image/jpeg"})
    published = {
        "key",
        "Content-Type",
        "x-amz-credential",
        "x-amz-algorithm",
        "x-amz-date",
        "x-amz-signature",
        "policy",
    }
    assert set(data["upload_url"]["fields"]) == published
    assert data["image_url"].endswith(".jpg")


def changed(path: str, value: Any) -> dict[str, Any]:
    """Return the published example with one field changed, or left out if the value is ``...``."""
    order = json.loads(TEXT_TO_IMAGE)
    *parents, name = path.split(".")
    place = order
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return order


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("prompt", ..., "prompt is required"),
        ("prompt", 5, "prompt must be a string, not an integer"),
        ("prompt", None, "prompt must be a string, not null"),
        ("prompt", " \n", "prompt must not be blank"),
        ("model_id", ..., "model_id is required"),
        ("model_id", "0-25", "model_id must be"),
        ("model_id", 0.24, "model_id must be a string"),
        ("options", ..., "options is required"),
        ("options", [], "options must be an object, not an array"),
        ("options", {}, "options.prompt_optimization is required"),
        ("options.num_outputs", ..., "options.num_outputs is required"),
        ("options.num_outputs", True, "options.num_outputs must be an integer, not a boolean"),
        ("options.num_outputs", 1.0, "options.num_outputs must be an integer"),
        ("options.num_outputs", "1", "options.num_outputs must be an integer, not a string"),
        ("options.num_outputs", 0, "options.num_outputs must be 1 to 4"),
        ("options.num_outputs", 5, "options.num_outputs must be 1 to 4"),
        ("options.prompt_optimization", 1, "options.prompt_optimization must be a boolean"),
        ("options.aspect_ratio", ..., "options.aspect_ratio must be one of 3:4, 9:16, 4:3, 16:9"),
        ("options.aspect_ratio", "1:1", "options.aspect_ratio must be one of"),
        ("options.aspect_ratio", None, "options.aspect_ratio must be a string, not null"),
        ("options.seed", 1, "options.seed is not a known field"),
        ("seed", 1, "seed is not a known field"),
        ("seed\ud800", 1, "is not a known field"),
        ("image_urls", [], "image_urls must hold exactly 1 string"),
        ("image_urls", ["http://a/1.png", "http://a/2.png"], "image_urls must hold exactly 1 string"),
        ("image_urls", [1], "image_urls must hold exactly 1 string"),
        ("image_urls", "http://a/1.png", "image_urls must be an array, not a string"),
        ("image_urls", None, "image_urls must be an array, not null"),
        ("image_urls", ["ftp://a/1.png"], "Invalid image url"),
        ("image_urls", ["http://a/1.png"], "options.aspect_ratio must be absent"),
    ],
)
def test_create_refuses_what_breaks_the_contract_and_names_the_field(caller, path, value, named):
    answer = caller.post("create", changed(path, value))
    assert answer.status_code == 200
    assert answer.json()["code"] == 0
    assert named in answer.json()["message"]
    report = caller.emulator.report()
    assert report["violations"] == [{"endpoint": "create", "message": answer.json()["message"]}]
    assert (report["bought"], report["refused"], report["credits_spent"]) == (0, 1, 0)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"prompt": NaN}', b"[" * 100_000, b"9" * 5000])
def test_a_body_that_is_not_json_is_refused(caller, body):
    assert caller.post("create", json=None, data=body).json() == {"code": 0, "message": "The body must be JSON"}


def test_a_body_that_is_no_object_or_too_large_is_refused(caller):
    assert caller.post("create", [1]).json()["message"] == "The body must be an object, not an array"
    assert caller.post("create", caller.order("x" * 1_000_001)).json()["message"] == "The body must be 1 MB or less"


@pytest.mark.parametrize(
    ("endpoint", "body", "message"),
    [
        ("get", {}, "task_id is required"),
        ("get", {"task_id": 5}, "task_id must be a string, not an integer"),
        ("get", {"task_id": "x", "generation_id": "x"}, "generation_id is not a known field"),
        ("get_credits", {"a": 1}, "get_credits takes no body"),
        ("pre_url", {"image_name": "photo.jpg"}, "content_type is required"),
        ("pre_url", {"image_name": "photo.gif", "content_type": "image/gif"}, "Invalid image format"),
        ("pre_url", {"image_name": "photo.png", "content_type": "image/jpeg"}, "Invalid image format"),
        ("pre_url", {"image_name": ".png", "content_type": "image/png"}, "Invalid image format"),
        ("pre_url", {"image_name": "photo", "content_type": "image/png"}, "Invalid image format"),
    ],
)
def test_the_other_endpoints_are_as_strict(caller, endpoint, body, message):
    assert caller.post(endpoint, body).json() == {"code": 0, "message": message}
    assert caller.emulator.report()["violations"] == [{"endpoint": endpoint, "message": message}]


@pytest.mark.parametrize("endpoint", ["create", "get", "get_credits", "pre_url"])
def test_method_and_content_type_are_checked(caller, endpoint):
    url = f"{caller.emulator.url}/api/task/{endpoint}"
    assert requests.get(url, headers=caller.headers).json() == {
        "code": 0,
        "message": "The method must be POST, not GET",
    }
    headers = {**caller.headers, "Content-Type": "text/plain"}
    assert caller.post(endpoint, headers=headers).json()["message"] == "Content-Type must be application/json"
    assert len(caller.emulator.report()["violations"]) == 2


@pytest.mark.parametrize("endpoint", ["create", "get", "get_credits", "pre_url"])
@pytest.mark.parametrize("key", [None, "", "key_00000000000000000000000000000000"])
def test_a_missing_or_wrong_key_is_refused_as_published(caller, endpoint, key):
    answer = caller.post(endpoint, {}, headers={**caller.headers, "Api-Key": key})
    assert answer.json() == {"code": 0, "message": "Invalid API KEY"}
    assert caller.emulator.report()["violations"] == []


def test_an_unknown_generation_and_somebody_elses_are_not_found(caller):
    caller.emulator.state.set_account("key_2", 10)
    generation_id = caller.create()
    other = {**caller.headers, "Api-Key": "key_2"}
    for answer in (
        caller.post("get", {"task_id": "0" * 32}),
        caller.post("get", {"task_id": generation_id}, headers=other),
    ):
        assert answer.json() == {"code": 0, "message": "Task not found"}


def test_an_unknown_path_is_refused(caller):
    assert caller.post("cancel", {}).status_code == 404
    assert caller.emulator.report()["requests"]["other"] == 1


def test_refusals_can_have_an_http_status(start):
    caller = start(http_errors=True, credits=0)
    wrong_key = {**caller.headers, "Api-Key": "wrong"}
    assert caller.post("get_credits", headers=wrong_key).status_code == 401
    assert caller.post("create", caller.order()).status_code == 402
    assert caller.post("create", {}).status_code == 400
    answer = caller.post("get", {"task_id": "0" * 32})
    assert (answer.status_code, answer.json()) == (404, {"code": 0, "message": "Task not found"})


@pytest.mark.parametrize(
    ("pending_urls", "shown"), [("absent", {}), ("null", {"result_urls": None}), ("empty", {"result_urls": []})]
)
def test_result_urls_while_processing(start, pending_urls, shown):
    caller = start(pending_urls=pending_urls)
    generation_id = caller.create()
    assert caller.get(generation_id) == {"task_id": generation_id, "status": 1, **shown}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
orders = st.fixed_dictionaries(
    {},
    optional={
        "prompt": st.text(st.characters(codec=None), max_size=20) | json_values,
        "model_id": st.just("0-24") | json_values,
        "image_urls": st.lists(st.text(max_size=5).map("http://[".__add__), max_size=1) | json_values,
        "options": st.fixed_dictionaries(
            {"prompt_optimization": st.booleans() | json_values, "num_outputs": st.integers(1, 4) | json_values},
            optional={"aspect_ratio": st.sampled_from(["16:9", "3:4"]) | json_values},
        )
        | json_values,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=orders | json_values)
def test_no_body_makes_the_emulator_fail(caller, body):
    answer = caller.post("create", json=None, data=json.dumps(body))  # with NaN and infinity, unlike json=
    assert answer.status_code == 200
    assert answer.json()["code"] in {0, 1}
