"""The create operator: what fails when, what is sent, what is returned, and that nothing is bought twice."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_runs import AirflowHere, bought, creates

from airflow_provider_qwenimage._compat import AirflowFailException
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator

IMAGE = "http://127.0.0.1:1/a.png"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": "   "}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"num_outputs": 0}, "num_outputs"),
        ({"num_outputs": 5}, "num_outputs"),
        ({"num_outputs": True}, "num_outputs"),
        ({"num_outputs": 1.5}, "num_outputs"),
        ({"aspect_ratio": "1:1"}, "3:4, 9:16, 4:3, 16:9"),
        ({"aspect_ratio": "16:9", "image_urls": [IMAGE]}, "aspect_ratio"),
        ({"image_urls": []}, "exactly one"),
        ({"image_urls": [IMAGE, IMAGE]}, "exactly one"),
        ({"image_urls": ["/tmp/a.png"]}, "http"),
        ({"image_urls": "s3://bucket/a.png"}, "http"),
        ({"prompt_optimization": "yes"}, "prompt_optimization"),
        ({"prompt_optimization": 1}, "prompt_optimization"),
        ({"model_id": ""}, "model_id"),
    ],
)
def test_wrong_literals_fail_when_the_dag_is_parsed(arguments: dict[str, Any], says: str):
    """A literal that breaks a rule of the service fails in the constructor and names the field."""
    with pytest.raises(errors.InvalidRequestError, match=says) as raised:
        QwenImageCreateTaskOperator(task_id="create", **{"prompt": "a kite", **arguments})
    assert isinstance(raised.value, AirflowFailException)
    assert isinstance(raised.value, ValueError)


def test_unknown_argument_is_a_typo():
    """A misspelt argument is refused by name when the DAG is parsed."""
    with pytest.raises(Exception, match="num_output"):
        QwenImageCreateTaskOperator(task_id="create", prompt="a kite", num_output=2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"prompt": "{{ params.prompt }}"},
        {"num_outputs": "{{ params.n }}"},
        {"aspect_ratio": "{% if params.tall %}9:16{% else %}16:9{% endif %}"},
        {"image_urls": ["{{ params.url }}"]},
        {"image_urls": "{{ ti.xcom_pull('drawn') }}", "aspect_ratio": None},
        {"prompt_optimization": "{{ params.translate }}"},
        {"image_urls": IMAGE},
        {"image_urls": (IMAGE,)},
    ],
)
def test_templates_are_left_alone_until_they_are_rendered(arguments: dict[str, Any]):
    """What is a template, or a right literal, passes the constructor unchanged."""
    operator = QwenImageCreateTaskOperator(task_id="create", **{"prompt": "a kite", **arguments})
    assert all(getattr(operator, name) == value for name, value in arguments.items())


def test_returns_the_id_and_pushes_the_estimate(airflow: AirflowHere, service: Emulator):
    """The XComs are the generation id, a text, and the service's estimate in seconds."""
    run = airflow.run("creating_once")
    generation_id = run.xcom("create")
    assert run.state == "success"
    assert type(generation_id) is str
    assert service.state.generation(generation_id).num_outputs == 2
    assert run.xcom("create", "estimated_time") == 1
    assert (creates(service), bought(service)) == (1, 1)


def test_pushes_nothing_when_told_so(airflow: AirflowHere, service: Emulator):
    """do_xcom_push=False is respected for the id and the estimate."""
    run = airflow.run("creating_quietly")
    assert run.state == "success"
    assert run.xcom("create") is run.xcom("create", "estimated_time") is None


@pytest.mark.parametrize(
    ("conf", "sent"),
    [
        ({"num_outputs": 2}, {"num_outputs": 2, "aspect_ratio": "16:9"}),
        ({"num_outputs": " 3 ", "aspect_ratio": "9:16"}, {"num_outputs": 3, "aspect_ratio": "9:16"}),
        ({"prompt_optimization": False}, {"prompt_optimization": False}),
        ({"prompt_optimization": "false"}, {"prompt_optimization": False}),
        ({"aspect_ratio": ""}, {"aspect_ratio": "16:9"}),
        ({"prompt": 'a "kite" 风筝\n{{ not_a_template }}'}, {}),
    ],
)
def test_rendered_texts_are_understood(
    conf: dict[str, Any], sent: dict[str, Any], airflow: AirflowHere, service: Emulator
):
    """Jinja renders to texts: numbers, booleans and None in them arrive as what they stand for."""
    conf = {"prompt": "a kite", **conf}
    run = airflow.run("creating_from_templates", **conf)
    assert run.state == "success"
    (body,) = [entry["body"] for entry in service.requests() if entry["endpoint"] == "create"]
    assert body["prompt"] == conf["prompt"]
    assert "image_urls" not in body
    assert sent.items() <= body["options"].items()
    assert service.report()["violations"] == []


@pytest.mark.parametrize("shape", ["list", "text"])
def test_rendered_image_urls_are_understood(shape: str, airflow: AirflowHere, service: Emulator):
    """A list that Jinja has turned into its repr is one URL again, signature and all; no ratio goes with it."""
    first = airflow.run("creating_once").xcom("create")
    url = _urls(service, first)[0]
    run = airflow.run("creating_from_templates", prompt="as a woodcut", image_urls=[url] if shape == "list" else url)
    assert run.state == "success"
    assert service.state.generation(run.xcom("create")).source
    assert service.report()["violations"] == []


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"prompt": "  "}, "prompt"),
        ({"num_outputs": 7}, "num_outputs"),
        ({"num_outputs": "two"}, "num_outputs"),
        ({"num_outputs": None}, "num_outputs"),
        ({"num_outputs": "-1"}, "num_outputs"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio"),
        ({"aspect_ratio": "3:4", "image_urls": [IMAGE]}, "aspect_ratio"),
        ({"image_urls": []}, "image_urls"),
        ({"image_urls": [IMAGE, IMAGE]}, "image_urls"),
        ({"image_urls": "[" * 500}, "image_urls"),
        ({"prompt_optimization": "maybe"}, "prompt_optimization"),
        ({"model_id": " "}, "model_id"),
    ],
)
def test_wrong_rendered_values_fail_before_anything_is_sent(
    conf: dict[str, Any], says: str, airflow: AirflowHere, service: Emulator
):
    """A rendered value that breaks a rule ends the task for good without a single request."""
    run = airflow.run("creating_from_templates", **{"prompt": "a kite", **conf})
    error = run.error("create")
    assert run.state == "failed"
    assert isinstance(error, errors.InvalidRequestError)
    assert says in str(error)
    assert "no credits were spent" in str(error)
    assert service.requests() == []


def test_arguments_from_other_tasks(airflow: AirflowHere, service: Emulator):
    """XComArgs pass the constructor and keep their types."""
    run = airflow.run("creating_from_tasks", prompt="a kite", aspect_ratio=None, num_outputs=4)
    assert run.state == "success"
    assert service.state.generation(run.xcom("create")).num_outputs == 4


def test_wrong_argument_from_another_task(airflow: AirflowHere, service: Emulator):
    """An upstream task that returns nothing is found before anything is sent."""
    run = airflow.run("creating_from_tasks", prompt=None, aspect_ratio="3:4", num_outputs=1)
    assert isinstance(run.error("create"), errors.InvalidRequestError)
    assert service.requests() == []


def test_mapped(airflow: AirflowHere, service: Emulator):
    """Over a product of prompts and ratios, each mapped task buys one generation and returns its id."""
    run = airflow.run("creating_mapped")
    ids = {run.xcom("create", map_index=index) for index in range(6)}
    assert run.state == "success"
    assert len(ids) == bought(service) == 6
    ratios = sorted(str(service.state.generation(found).aspect_ratio) for found in ids)
    assert ratios == ["16:9"] * 3 + ["3:4"] * 3


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "refuse", "message": "Invalid API KEY"}, errors.AuthenticationError),
        ({"kind": "refuse", "message": "Credits not enough"}, errors.InsufficientCreditsError),
        ({"kind": "refuse", "message": "Invalid image url"}, errors.InvalidImageError),
        ({"kind": "refuse", "message": "The prompt is not allowed", "status": 400}, errors.RejectedError),
        ({"kind": "refuse", "code": 2, "message": "Invalid API key.", "field": "msg"}, errors.AuthenticationError),
    ],
)
def test_a_rejected_request_is_not_sent_again(
    fault: dict[str, Any], kind: type[Exception], airflow: AirflowHere, service: Emulator
):
    """What the service refuses ends the task although it has a retry left."""
    service.plan("create", **fault)
    run = airflow.run("creating_once")
    assert run.state == "failed"
    assert type(run.error("create")).__name__ == kind.__name__
    assert fault["message"] in str(run.error("create"))
    assert (creates(service), bought(service)) == (1, 0)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "close_after"},
        {"kind": "truncated"},
        {"kind": "malformed"},
        {"kind": "data", "delete": ["task_id"]},
        {"kind": "oversized"},
    ],
)
def test_an_unknown_outcome_is_never_sent_again(fault: dict[str, Any], airflow: AirflowHere, service: Emulator):
    """A create whose answer is lost has been bought once: no retry buys it a second time, and the text says so."""
    service.plan("create", **fault)
    run = airflow.run("creating_once")
    error = run.error("create")
    assert run.state == "failed"
    assert isinstance(error, errors.UnknownOutcomeError)
    assert isinstance(error, AirflowFailException)
    assert "may have been started and charged" in str(error)
    assert (creates(service), bought(service)) == (1, 1)


@pytest.mark.parametrize("fault", [{"kind": "close_before"}, {"kind": "html", "status": 502}, {"kind": "http_error"}])
def test_a_request_that_was_lost_on_the_way_is_not_sent_again_either(
    fault: dict[str, Any], airflow: AirflowHere, service: Emulator
):
    """Nobody can tell from here whether a request took effect whose connection broke: one request, no more."""
    service.plan("create", **fault, **({"body": "text"} if fault["kind"] == "http_error" else {}))
    run = airflow.run("creating_once")
    assert isinstance(run.error("create"), errors.UnknownOutcomeError)
    assert creates(service) == 1


@pytest.mark.parametrize("status", [503, 429])
def test_airflow_goes_on_where_the_clients_patience_ends(
    status: int, airflow: AirflowHere, service: Emulator, monkeypatch: pytest.MonkeyPatch
):
    """Overload that lasts longer than the client's own attempts fails the try; Airflow's retry then buys once."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)
    service.plan("create", "http_error", status=status, times=4)
    run = airflow.run("creating_once")
    error = run.error("create")
    assert run.state == "success"
    assert isinstance(error, errors.OverloadedError)
    assert not isinstance(error, AirflowFailException)
    assert (creates(service), bought(service)) == (5, 1)


def test_an_unreachable_service_is_tried_again(
    airflow: AirflowHere, service: Emulator, monkeypatch: pytest.MonkeyPatch
):
    """Where no connection is made nothing is bought: the task uses its retry, then fails and names the host."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)
    monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", "qwenimage://:key_x123456@127.0.0.1:1")
    run = airflow.run("creating_once")
    assert [type(error).__name__ for _, error in run.errors] == ["NotSentError", "NotSentError"]
    assert "127.0.0.1:1" in str(run.errors[0][1])


def test_no_connection_names_it(airflow: AirflowHere, monkeypatch: pytest.MonkeyPatch):
    """A connection that does not exist is named in the error."""
    monkeypatch.delenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", raising=False)
    run = airflow.run("creating_once")
    assert run.state == "failed"
    assert "qwenimage_default" in str(run.errors[-1][1])


def _urls(service: Emulator, generation_id: str) -> list[str]:
    from airflow_provider_qwenimage.hooks import QwenImageHook

    return list(QwenImageHook().get_task(generation_id).result_urls)
