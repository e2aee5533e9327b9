"""``@task.qwenimage``: how functions are called, what they may return, and what survives a deferral."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dags_made_here import Bench, files_in, rendered_fields, task, xcoms
from PIL import Image

from airflow_provider_qwenimage._compat import AIRFLOW, AirflowFailException
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.decorators import qwenimage_task
from airflow_provider_qwenimage.emulator import Emulator

MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


def sent(service: Emulator) -> list[dict[str, Any]]:
    """The bodies of all creates."""
    bodies = [entry["body"] for entry in service.requests() if entry["endpoint"] == "create"]
    return [body if isinstance(body, dict) else json.loads(body) for body in bodies]


@MODES
def test_arguments_of_every_kind(deferrable: bool, bench: Bench, service: Emulator):
    """Positional and keyword arguments, another task's output, templates, and the context reach the function."""

    def build() -> None:
        @task
        def animal() -> str:
            return "panda"

        @task.qwenimage(deferrable=deferrable)
        def gen(
            animal: str, place: str, *, style: str = "oil", ti: Any = None, params: Any = None, **context: Any
        ) -> str:
            assert context["run_id"]
            return f"{animal} in {place}, {style}, by {ti.task_id}, {params['mood']}"

        gen(animal(), "{{ params.mood }} Paris", style="ink")

    with bench.dag(params={"mood": "sad"}) as dag:
        build()
    run = bench.run_dag(dag)
    assert run.state == "success", run.errors
    (body,) = sent(service)
    assert body["prompt"] == "panda in sad Paris, ink, by gen, sad"
    assert run.xcom("gen", "images")[0]["prompt"] == body["prompt"]


@MODES
def test_prompt_is_shown_and_no_template(deferrable: bool, bench: Bench, service: Emulator):
    """The returned prompt is under Rendered Templates, in either mode, and is never rendered itself."""
    prompt = "a kite {{ ti.task_id }} {% broken"

    def build() -> None:
        @task.qwenimage(deferrable=deferrable)
        def gen() -> str:
            return prompt

        gen()

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    assert sent(service)[0]["prompt"] == prompt
    assert rendered_fields(run.tis["gen", -1])["prompt"] == prompt


@MODES
def test_prompt_is_shown_when_the_task_fails(deferrable: bool, bench: Bench, service: Emulator):
    """A prompt that made no image is what one wants to see most."""
    service.plan("create", "fail")

    def build() -> None:
        @task.qwenimage(deferrable=deferrable)
        def gen() -> str:
            return "a kite {{ no template }}"

        gen()

    run = bench.run_one(build)
    assert isinstance(run.error("gen"), errors.GenerationFailedError)
    assert rendered_fields(run.tis["gen", -1])["prompt"] == "a kite {{ no template }}"


@MODES
@pytest.mark.parametrize("annotated", [False, True])
def test_dict_of_request_fields(annotated: bool, deferrable: bool, bench: Bench, service: Emulator, tmp_path: Path):
    """A dict sets any request field; "-> dict" does not split the result into several XComs."""
    fields = {"prompt": "a kite", "aspect_ratio": "3:4", "num_outputs": 2, "prompt_optimization": False}

    def plain():  # no annotation: that is the point
        return fields

    def with_annotation() -> dict[str, Any]:
        return fields

    def build() -> None:
        function = with_annotation if annotated else plain
        task.qwenimage(task_id="gen", deferrable=deferrable, output_path=str(tmp_path))(function)()

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    (body,) = sent(service)
    assert body["options"] == {"prompt_optimization": False, "num_outputs": 2, "aspect_ratio": "3:4"}
    assert run.xcom("gen") == [str(tmp_path / name) for name in files_in(tmp_path)]
    assert not xcoms(run.tis["gen", -1]).keys() & fields.keys()


def test_function_may_name_an_image(bench: Bench, service: Emulator, tmp_path: Path):
    """image in the dict is uploaded, as the operator's is."""
    Image.new("RGB", (20, 20), "teal").save(tmp_path / "in.png")

    def build() -> None:
        @task.qwenimage
        def gen() -> Mapping[str, Any]:
            return {"prompt": "as a woodcut", "image": str(tmp_path / "in.png")}

        gen()

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    assert service.state.generation(run.xcom("gen", "generation_id")).source
    assert service.report()["violations"] == []


@MODES
@pytest.mark.parametrize("ending", ["success", "failed"])
def test_every_returned_field_is_shown(
    ending: str, deferrable: bool, bench: Bench, service: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """A deferral loses none of the fields, and what may be a signed URL is in no event that Airflow logs."""
    image = f"file://{tmp_path}/in.png"
    Image.new("RGB", (20, 20), "teal").save(tmp_path / "in.png")
    fields = {"prompt": "a kite", "image": image, "num_outputs": 2, "prompt_optimization": False, "model_id": "0-24"}
    if ending == "failed":
        service.plan("create", "fail")

    def build() -> None:
        @task.qwenimage(deferrable=deferrable, num_outputs=3)
        def gen() -> dict[str, Any]:
            return fields

        gen()

    run = bench.run_one(build)
    assert run.state == ending, run.errors
    shown = rendered_fields(run.tis["gen", -1])
    assert {name: shown[name] for name in fields} == {name: str(value) for name, value in fields.items()} | {
        name: value for name, value in fields.items() if shown[name] == value
    }
    assert not [line for line in caplog.text.splitlines() if image in line and "event" in line.lower()]


@MODES
def test_a_url_that_was_returned_is_shown_after_the_wait(deferrable: bool, bench: Bench, service: Emulator):
    """image_urls is a field as any other."""
    url = bench.generate().xcom("gen")[0]

    def build() -> None:
        @task.qwenimage(deferrable=deferrable)
        def gen() -> dict[str, Any]:
            return {"prompt": "a kite", "image_urls": [url]}

        gen()

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    assert rendered_fields(run.tis["gen", -1])["image_urls"] == [url]


@MODES
def test_mapped_over_prompts(deferrable: bool, bench: Bench, service: Emulator):
    """expand() calls the function once per element, partial() keeps what is common."""

    def build() -> None:
        @task.qwenimage(deferrable=deferrable, num_outputs=1)
        def gen(what: str, style: str) -> str:
            return f"{what}, {style}"

        gen.partial(style="ink").expand(what=["a kite", "风筝"])

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    prompts = [run.xcom("gen", "images", map_index=index)[0]["prompt"] for index in (0, 1)]
    assert prompts == ["a kite, ink", "风筝, ink"]
    assert sorted(body["prompt"] for body in sent(service)) == prompts
    assert [rendered_fields(run.tis["gen", index])["prompt"] for index in (0, 1)] == prompts


@pytest.mark.skipif(AIRFLOW == (3, 0), reason="dag.test() of 3.0 does not find a task again that it retries")
@MODES
def test_called_once_per_try(deferrable: bool, bench: Bench, service: Emulator):
    """A retry calls the function again, a deferral does not; each try's own prompt is what is sent."""
    calls: list[int] = []
    service.plan("create", "http_error", status=503, times=4)  # one more than the client's own attempts... of one try

    def build() -> None:
        @task.qwenimage(deferrable=deferrable, retries=1, retry_delay=timedelta(0))
        def gen(ti: Any = None) -> dict[str, Any]:
            calls.append(ti.try_number)
            return {"prompt": f"try {ti.try_number}", "aspect_ratio": "9:16" if ti.try_number == 2 else "4:3"}

        gen()

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    assert calls == [1, 2]
    assert isinstance(run.error("gen"), errors.OverloadedError)
    assert [body["prompt"] for body in sent(service)] == ["try 1"] * 4 + ["try 2"]
    assert sent(service)[-1]["options"]["aspect_ratio"] == "9:16"
    assert service.report()["bought"] == 1


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "must return a prompt"),
        (7, "must return a prompt"),
        ("", "prompt"),
        ("  ", "prompt"),
        ({}, "must return a prompt"),
        (["a kite"], "must return a prompt"),
        ({"aspect_ratio": "3:4"}, "needs a prompt"),
        ({"prompt": "a kite", "seed": 7}, "seed"),
        ({"prompt": "a kite", "output_path": "/tmp"}, "output_path"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "a kite", "num_outputs": 9}, "num_outputs"),
        ({"prompt": "a kite", "aspect_ratio": "1:1"}, "aspect_ratio"),
    ],
)
def test_wrong_returns_send_nothing(returned: Any, says: str, bench: Bench, service: Emulator):
    """What is neither a prompt nor a dict of request fields fails the task for good, before any request."""

    def build() -> None:
        @task.qwenimage(retries=2)
        def gen() -> Any:
            return returned

        gen()

    error = bench.run_one(build).error("gen")
    assert isinstance(error, errors.InvalidRequestError)
    assert isinstance(error, AirflowFailException)
    assert says in str(error)
    assert service.requests() == []


def test_typed_import_is_the_same_decorator(bench: Bench, service: Emulator):
    """qwenimage_task, with and without arguments, makes the tasks that @task.qwenimage makes."""

    def build() -> None:
        @qwenimage_task
        def bare() -> str:
            return "a kite"

        @qwenimage_task(task_id="gen", num_outputs=2)
        def with_arguments() -> str:
            return "a kite"

        bare() >> with_arguments()

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    assert (len(run.xcom("bare")), len(run.xcom("gen"))) == (1, 2)


def test_exceptions_of_the_function_are_its_own(bench: Bench, service: Emulator):
    """What the function raises ends the try unchanged."""

    def build() -> None:
        @task.qwenimage
        def gen() -> str:
            raise LookupError("no product")

        gen()

    assert isinstance(bench.run_one(build).error("gen"), LookupError)
    assert service.requests() == []


def test_result_goes_on_to_other_tasks(bench: Bench, service: Emulator, tmp_path: Path):
    """The paths are an ordinary XComArg for the next function."""

    def build() -> None:
        @task.qwenimage(output_path=str(tmp_path))
        def gen() -> str:
            return "a kite"

        @task
        def count(paths: list[str]) -> int:
            return sum(Path(path).stat().st_size for path in paths)

        count(gen())

    run = bench.run_one(build)
    assert run.xcom("count") == sum(map(len, files_in(tmp_path).values())) > 0
