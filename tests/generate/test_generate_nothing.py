"""Fields that were given and render to nothing: what is bought must be what was meant."""

from __future__ import annotations

from typing import Any

import pytest
from airflow_runs import creates
from dags_made_here import Bench

from airflow_provider_qwenimage._compat import AirflowFailException
from airflow_provider_qwenimage.api.errors import InvalidRequestError
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator, QwenImageGenerateOperator

NOTHING = "{{ ti.xcom_pull(task_ids='nobody') }}"


def check_refused(run: Any, service: Emulator, field: str) -> None:
    error = run.error("gen")
    assert isinstance(error, InvalidRequestError)
    assert isinstance(error, AirflowFailException)
    assert field in str(error)
    assert "no credits were spent" in str(error)
    assert creates(service) == 0


@pytest.mark.parametrize("field", ["prompt", "image", "image_urls", "output_path"])
def test_what_an_upstream_task_did_not_return_is_not_left_out(bench: Bench, service: Emulator, field: str):
    """A picture of the word "None", a text to image instead of an edit, or an image that is saved nowhere."""
    run = bench.generate(**{field: NOTHING})
    check_refused(run, service, field)


def test_the_same_where_templates_give_objects(bench: Bench, service: Emulator):
    """With render_template_as_native_obj it is None, no text."""
    with bench.dag(render_template_as_native_obj=True) as dag:
        QwenImageGenerateOperator(task_id="gen", prompt="as a woodcut", image=NOTHING)
    check_refused(bench.run_dag(dag), service, "image")


def test_the_output_of_a_task_that_returned_nothing(bench: Bench, service: Emulator):
    """XComArg resolves to None."""
    with bench.dag() as dag:

        @dag.task
        def nothing() -> None:
            return None

        QwenImageCreateTaskOperator(task_id="gen", prompt="as a woodcut", image_urls=nothing())
    check_refused(bench.run_dag(dag), service, "image_urls")


def test_an_empty_output_path_is_not_left_out(bench: Bench, service: Emulator):
    """A green task whose images are nowhere is the worst of all ends."""
    check_refused(bench.generate(output_path="{{ params.get('nowhere', '') }}"), service, "output_path")


@pytest.mark.parametrize("nothing", ["{{ params.get('it') }}", "{{ params.get('it') or '' }}"])
@pytest.mark.parametrize("field", ["image", "image_urls"])
def test_a_parameter_may_leave_an_image_out(bench: Bench, service: Emulator, field: str, nothing: str):
    """So that one DAG serves both, edits and texts to images."""
    run = bench.generate(**{field: nothing, "aspect_ratio": "{{ '3:4' }}"})
    assert run.state == "success"
    assert service.report()["violations"] == []


def test_a_function_may_leave_fields_out(bench: Bench, service: Emulator):
    """What @task.qwenimage's function returns is meant as it is: None is no image."""
    from airflow_provider_qwenimage.decorators import qwenimage_task

    with bench.dag() as dag:

        @qwenimage_task(image_urls=["https://example.com/a.jpeg"])
        def gen() -> dict[str, Any]:
            return {"prompt": "a kite", "image_urls": None}

        gen()
    assert bench.run_dag(dag).state == "success"


def test_a_row_of_a_table_may_leave_the_image_out():
    """Mapped over rows, an image is an empty text where there is none, and a ratio where there is one."""
    for row in ({"image": "", "aspect_ratio": "4:3"}, {"image": "/a.png", "aspect_ratio": "", "image_urls": ""}):
        operator = QwenImageGenerateOperator(task_id="gen", prompt="a kite", **row)
        assert {name: getattr(operator, name) for name in row} == row
