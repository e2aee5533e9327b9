"""Requests follow every rule of the contract, and look on the wire exactly as its page shows them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from api_servers import bounded
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from airflow_provider_qwenimage.api import rules, wire
from airflow_provider_qwenimage.api.errors import InvalidRequestError
from airflow_provider_qwenimage.api.models import Generation, GenerationRequest, GenerationStatus, Submission

# Copied from the contract page, line breaks included.
TEXT_TO_IMAGE = """{"prompt": "a beautiful landscape with mountains", "model_id": "0-24",
 "options": {"prompt_optimization": true, "num_outputs": 1, "aspect_ratio": "16:9"}}"""
IMAGE_TO_IMAGE = """{"prompt": "turn this into a watercolor painting",
 "image_urls": ["https://cdn.pixwith.ai/images/cf0ddb5ad6a0f0c85ab4d1dceb9fd89c_0.jpeg"], "model_id": "0-24",
 "options": {"prompt_optimization": true, "num_outputs": 1}}"""
GET = '{"task_id": "cf0ddb5ad6a0f0c85ab4d1dceb9fd89c"}'

URL = "https://cdn.pixwith.ai/images/cf0ddb5ad6a0f0c85ab4d1dceb9fd89c_0.jpeg"
RATIOS = ["3:4", "9:16", "4:3", "16:9"]


def on_one_line(page: str) -> bytes:
    """The page's JSON without its line breaks, each of which is followed by a blank there."""
    return page.replace("\n ", " ").encode()


def request(**fields: Any) -> GenerationRequest:
    return GenerationRequest.checked(**{"prompt": "a lighthouse", **fields})


def sent(asked: GenerationRequest) -> Any:
    return json.loads(wire.create(asked).content())


def check_against_the_contract(payload: Any) -> None:
    """The contract's table, written down a second time."""
    assert type(payload) is dict
    assert set(payload) - {"image_urls"} == {"prompt", "model_id", "options"}
    assert type(payload["prompt"]) is str
    assert payload["prompt"].strip()
    assert type(payload["model_id"]) is str
    options = payload["options"]
    assert type(options) is dict
    assert type(options["prompt_optimization"]) is bool
    assert type(options["num_outputs"]) is int
    assert options["num_outputs"] in {1, 2, 3, 4}
    if "image_urls" in payload:
        assert set(options) == {"prompt_optimization", "num_outputs"}
        (url,) = payload["image_urls"]
        assert type(url) is str
        assert re.match(r"https?://[^/]", url)
    else:
        assert set(options) == {"prompt_optimization", "num_outputs", "aspect_ratio"}
        assert options["aspect_ratio"] in RATIOS


def test_text_to_image_is_sent_as_the_contract_shows_it() -> None:
    """The first example of the page, byte for byte."""
    asked = GenerationRequest(prompt="a beautiful landscape with mountains", aspect_ratio="16:9", num_outputs=1)
    assert wire.create(asked).content() == on_one_line(TEXT_TO_IMAGE)


def test_image_to_image_is_sent_as_the_contract_shows_it() -> None:
    """The second example of the page, byte for byte."""
    asked = GenerationRequest(prompt="turn this into a watercolor painting", image_urls=(URL,))
    assert wire.create(asked).content() == on_one_line(IMAGE_TO_IMAGE)


def test_the_calls_that_read_are_sent_as_the_contract_shows_them() -> None:
    """Asking for a generation sends its id; asking for the credits sends no body."""
    assert wire.get("cf0ddb5ad6a0f0c85ab4d1dceb9fd89c").content() == on_one_line(GET)
    assert wire.get_credits().content() == b""


@pytest.mark.parametrize("generation_id", ["", " \n", "half \ud83d of a smile", None, 5, b"abc"])
def test_what_is_no_generation_id_is_refused(generation_id: Any) -> None:
    """What can't be an id is not sent."""
    with pytest.raises(InvalidRequestError, match="generation_id must be a text"):
        wire.get(generation_id)


def test_the_paths_are_those_of_the_contract() -> None:
    """Each call goes to its own path, and only the create buys."""
    calls = [wire.create(request()), wire.get("abc"), wire.get_credits()]
    assert [call.path for call in calls] == ["/api/task/create", "/api/task/get", "/api/task/get_credits"]
    assert [call.buys for call in calls] == [True, False, False]


def test_the_defaults_are_a_contract_request() -> None:
    """A prompt alone is a whole request: one image of 16:9, with the prompt translated."""
    payload = sent(request())
    check_against_the_contract(payload)
    assert payload["options"] == {"prompt_optimization": True, "num_outputs": 1, "aspect_ratio": "16:9"}
    assert payload["model_id"] == "0-24"


def test_the_examples_pass_the_check_of_this_file() -> None:
    """The check that the property tests use accepts what the page shows."""
    check_against_the_contract(json.loads(TEXT_TO_IMAGE))
    check_against_the_contract(json.loads(IMAGE_TO_IMAGE))


GOOD: list[tuple[dict[str, Any], str, Any]] = [
    *[({"aspect_ratio": ratio}, "aspect_ratio", ratio) for ratio in RATIOS],
    *[({"num_outputs": number}, "num_outputs", number) for number in (1, 2, 3, 4)],
    ({"prompt_optimization": False}, "prompt_optimization", False),
]


@pytest.mark.parametrize(("fields", "name", "value"), GOOD)
def test_every_option_is_sent_with_its_own_type(fields: dict[str, Any], name: str, value: Any) -> None:
    """Every value that the contract allows arrives, and as the type it has there."""
    payload = sent(request(**fields))
    check_against_the_contract(payload)
    assert payload["options"][name] == value
    assert type(payload["options"][name]) is type(value)


@pytest.mark.parametrize("urls", [URL, [URL], (URL,)])
def test_an_image_may_be_given_alone_or_in_a_list(urls: Any) -> None:
    """One URL is one URL, however it is written."""
    payload = sent(request(image_urls=urls))
    check_against_the_contract(payload)
    assert payload["image_urls"] == [URL]


def test_an_image_url_is_sent_unchanged() -> None:
    """URLs are opaque: a signature, capitals and escapes stay as they are."""
    url = "HTTPS://CDN.example/a%2fb.jpeg?X-Amz-Signature=a%2Bb+c&x=~%7E&empty=#part"
    assert sent(request(image_urls=url))["image_urls"] == [url]


def test_the_model_is_a_parameter() -> None:
    """Another model can be asked for by its id."""
    assert sent(request(model_id="0-25"))["model_id"] == "0-25"


BAD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    *[({"prompt": value}, ("prompt", "not blank")) for value in ("", " ", "\n\t", "\u3000", None, 5, b"text", ["a"])],
    ({"prompt": "half \ud83d of a smile"}, ("prompt", "Unicode")),
    *[({"num_outputs": value}, ("num_outputs", "from 1 to 4")) for value in (0, 5, -1, 10**30, 1.0, "1", None, [1])],
    *[({"num_outputs": value}, ("num_outputs", "from 1 to 4", repr(value))) for value in (True, False)],
    *[
        ({"aspect_ratio": value}, ("aspect_ratio", "3:4, 9:16, 4:3, 16:9"))
        for value in ("1:1", "16:10", "", "16:9 ", 1.78, True, ["16:9"], {})
    ],
    *[
        ({"prompt_optimization": value}, ("prompt_optimization", "True or False"))
        for value in (1, 0, "true", "", None, [True])
    ],
    *[({"image_urls": value}, ("image_urls", "exactly one")) for value in ([], (), [URL, URL], {URL}, 5, {"url": URL})],
    *[
        ({"image_urls": value}, ("image_urls", "http:// or https://"))
        for value in ("", "cat.png", ["/tmp/cat.png"], "ftp://host/cat.png", "s3://bucket/cat.png", "http://", [None])
    ],
    *[
        ({"image_urls": value}, ("image_urls", "http:// or https://"))
        for value in ("http:///cat.png", "https://host/a b.png", "https://host/a\nb", "http://[::1/x", "http://h:0/")
    ],
    ({"image_urls": "https://host:70000/x"}, ("image_urls", "http:// or https://")),
    ({"image_urls": "data:image/png;base64,AAAA"}, ("image_urls", "http:// or https://")),
    ({"image_urls": URL, "aspect_ratio": "16:9"}, ("aspect_ratio", "text-to-image only", "image_urls")),
    *[({"model_id": value}, ("model_id", "0-24")) for value in ("", " ", None, 24, "\udc00")],
    ({"negative_prompt": "rain"}, ("negative_prompt", "not a field", "prompt, image_urls, aspect_ratio")),
    ({"options": {}}, ("options", "not a field")),
]


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_what_breaks_a_rule_is_refused_with_field_and_allowed_values(
    fields: dict[str, Any], words: tuple[str, ...]
) -> None:
    """The error names the field and what is allowed, is a ValueError, and says that nothing was spent."""
    with pytest.raises(InvalidRequestError) as caught:
        request(**fields)
    assert isinstance(caught.value, ValueError)
    for word in (*words, "no credits were spent"):
        assert word in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("fields", "words"), BAD)
def test_the_model_itself_refuses_the_same(fields: dict[str, Any], words: tuple[str, ...]) -> None:
    """A request can't be built around the rules by not using ``checked``."""
    with pytest.raises(ValidationError):
        GenerationRequest(**{"prompt": "a lighthouse", **fields})


def test_a_request_without_a_prompt_is_refused() -> None:
    """The one field without a default is named when it is missing."""
    with pytest.raises(InvalidRequestError, match="prompt"):
        GenerationRequest.checked()


def test_all_problems_are_told_at_once() -> None:
    """Nobody has to mend a request one error at a time."""
    with pytest.raises(InvalidRequestError) as caught:
        GenerationRequest.checked(prompt=" ", num_outputs=9, aspect_ratio="1:1", seed=4)
    for name in ("prompt", "num_outputs", "aspect_ratio", "seed"):
        assert name in caught.value.message


def test_a_long_value_does_not_flood_the_error() -> None:
    """What was given is shown, but cut."""
    with pytest.raises(InvalidRequestError) as caught:
        request(aspect_ratio="x" * 10_000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "value",
    [
        request(),
        Submission(generation_id="abc"),
        Generation(generation_id="abc", status=GenerationStatus.PROCESSING),
    ],
)
def test_values_can_not_be_changed(value: Any) -> None:
    """Requests and replies are frozen, and equal and hashable by what they hold."""
    for name in type(value).model_fields:
        with pytest.raises(ValidationError):
            setattr(value, name, getattr(value, name))
    assert value == value.model_copy()
    assert hash(value) == hash(value.model_copy())


def test_replies_ignore_unknown_fields() -> None:
    """A new field of the service does no harm."""
    assert Submission(generation_id="abc", queue_position=3) == Submission(generation_id="abc")


def test_the_rules_alone_say_the_same_as_the_model() -> None:
    """Operators check literals with the plain functions, which know every field of the model."""
    assert list(rules.FIELDS) == list(GenerationRequest.model_fields)
    with pytest.raises(ValueError, match="aspect_ratio must be one of 3:4, 9:16, 4:3, 16:9"):
        rules.aspect_ratio("1:1")


PROMPTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text.strip())


@bounded
@given(PROMPTS)
def test_any_unicode_prompt_survives(prompt: str) -> None:
    """What is sent is UTF-8 JSON that holds the prompt, character for character."""
    assert sent(request(prompt=prompt))["prompt"] == prompt


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 6), st.floats(), st.text(max_size=5), st.lists(st.text(max_size=3))
)
FIELDS = {
    "prompt": PROMPTS | ANYTHING | st.text(st.characters(), max_size=4),
    "image_urls": st.sampled_from([URL, [URL], (URL,), [URL, URL], "http://x/\n", "https://"]) | ANYTHING,
    "aspect_ratio": st.sampled_from([*RATIOS, "1:1"]) | ANYTHING,
    "num_outputs": st.integers(0, 5) | ANYTHING,
    "prompt_optimization": st.booleans() | ANYTHING,
    "model_id": st.just("0-24") | ANYTHING,
}


@bounded
@given(st.fixed_dictionaries({}, optional=FIELDS))
def test_no_request_breaks_the_contract(fields: dict[str, Any]) -> None:
    """Whatever is put into a request, it is refused or what is sent keeps to the contract."""
    try:
        asked = GenerationRequest.checked(**fields)
    except InvalidRequestError:
        return
    check_against_the_contract(sent(asked))
