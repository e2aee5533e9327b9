"""Arguments as texts, as rows of a table hold them: a literal is read as the same text from a template would be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dags_made_here import Bench, files_in

from airflow_provider_qwenimage._compat import AirflowFailException
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import (
    QwenImageBatchGenerateOperator,
    QwenImageCreateTaskOperator,
    QwenImageGenerateOperator,
)

URL = "https://example.com/in.png"
YEAR = 365 * 24 * 3600


def made(kind: type[Any], **arguments: Any) -> Any:
    needed = {"requests": ["a kite"], "output_path": "/tmp/x"} if kind is QwenImageBatchGenerateOperator else {}
    if kind is not QwenImageBatchGenerateOperator:
        needed = {"prompt": "a kite"}
    return kind(**{"task_id": "gen", **needed, **arguments})


@pytest.mark.parametrize(
    "texts",
    [
        {"num_outputs": "2"},
        {"prompt_optimization": "true"},
        {"prompt_optimization": "False"},
        {"aspect_ratio": ""},
        {"aspect_ratio": "None"},
        {"image_urls": f"['{URL}']"},
        {"image_urls": ""},
        {"image_urls": "", "aspect_ratio": "4:3"},
        {"image_urls": URL, "aspect_ratio": ""},
        {"min_credits": ""},
    ],
    ids=str,
)
def test_texts_are_read_back(texts: dict[str, Any]):
    """The constructor takes them, and leaves them as they are; so it does in a row of a batch, and for all its rows."""
    for kind in (QwenImageCreateTaskOperator, QwenImageGenerateOperator):
        operator = made(kind, **texts)
        assert {name: getattr(operator, name) for name in texts} == texts
    for_all = {name: value for name, value in texts.items() if name != "image_urls"}
    made(QwenImageBatchGenerateOperator, **for_all)
    row = {name: value for name, value in texts.items() if name != "min_credits"}
    made(QwenImageBatchGenerateOperator, requests=[{"prompt": "a kite", **row}])


def test_a_manifest_may_be_left_empty():
    """As where it is a template that renders to nothing."""
    assert made(QwenImageBatchGenerateOperator, manifest="").manifest == ""


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"num_outputs": "5"}, "num_outputs must be a whole number from 1 to 4, not 5"),
        ({"num_outputs": "two"}, "num_outputs"),
        ({"num_outputs": "-1"}, "num_outputs"),
        ({"num_outputs": ""}, "num_outputs"),
        ({"prompt_optimization": "yes"}, "prompt_optimization"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio"),
        ({"image_urls": f"['{URL}', '{URL}']"}, "exactly one URL"),
        ({"image_urls": "['/tmp/a.png']"}, "http"),
        ({"image_urls": f"['{URL}'"}, "http"),
        ({"image_urls": f"['{URL}']", "aspect_ratio": "4:3"}, "aspect_ratio is for text-to-image only"),
        ({"prompt": ""}, "prompt"),
        ({"model_id": ""}, "model_id"),
    ],
    ids=str,
)
def test_wrong_texts_are_refused_when_the_dag_is_parsed(texts: dict[str, Any], says: str):
    """What they stand for has to follow the rules."""
    for kind in (QwenImageCreateTaskOperator, QwenImageGenerateOperator):
        with pytest.raises(errors.InvalidRequestError, match=says) as raised:
            made(kind, **texts)
        assert isinstance(raised.value, AirflowFailException)
    with pytest.raises(errors.InvalidRequestError, match=says):
        made(QwenImageBatchGenerateOperator, requests=[{"prompt": "a kite", **texts}])


def test_rows_of_a_table_are_mapped(bench: Bench, service: Emulator):
    """``.expand_kwargs`` over what a CSV reader gives: each cell is a text, and one that is empty says nothing."""
    rows = [
        {"prompt": "a cat", "num_outputs": "2", "prompt_optimization": "false", "aspect_ratio": "3:4"},
        {"prompt": "a dog", "num_outputs": "1", "prompt_optimization": "TRUE", "aspect_ratio": ""},
    ]
    run = bench.run_one(lambda: QwenImageGenerateOperator.partial(task_id="gen").expand_kwargs(rows))
    assert run.state == "success", run.errors
    drawn = [service.state.generation(run.xcom("gen", "generation_id", map_index=index)) for index in range(2)]
    assert [(found.num_outputs, found.aspect_ratio) for found in drawn] == [(2, "3:4"), (1, "16:9")]
    assert service.report()["violations"] == []


@pytest.mark.parametrize("kind", [QwenImageGenerateOperator, QwenImageBatchGenerateOperator])
@pytest.mark.parametrize("name", ["timeout", "poll_interval"])
def test_no_time_is_longer_than_a_year(kind: type[Any], name: str):
    """Longer ones overflow what adds them to a date, after the purchase and at each retry again."""
    for longest in (YEAR, timedelta(days=365)):
        assert getattr(made(kind, **{name: longest}), name) == YEAR
    for value in (YEAR + 1, 1e14, 10**400, timedelta(days=366), timedelta.max):
        with pytest.raises(errors.InvalidRequestError, match=rf"{name} must be .* at most 31,536,000 \(a year\)"):
            made(kind, deferrable=True, **{name: value})


@pytest.mark.parametrize(
    "template",
    ["{index:{generation_id}}.{ext}", "{generation_id:{index}}_{index}.{ext}", "{sha256:.{index}}{index}.{ext}"],
)
def test_a_placeholder_inside_of_a_format_is_refused(template: str, bench: Bench, service: Emulator, tmp_path: Path):
    """What it gives depends on an id that the service chooses: it may fail when all is paid for."""
    for kind in (QwenImageGenerateOperator, QwenImageBatchGenerateOperator):
        with pytest.raises(errors.InvalidRequestError, match="inside another"):
            made(kind, output_path=str(tmp_path), file_name=template)
    rendered = "{{ params.template }}"
    run = bench.run_one(
        lambda: QwenImageGenerateOperator(
            task_id="gen", prompt="a kite", output_path=str(tmp_path), file_name=rendered, params={"template": template}
        )
    )
    assert "inside another" in str(run.error("gen"))
    assert service.requests() == []


def test_formats_of_placeholders_are_kept(bench: Bench, service: Emulator, tmp_path: Path):
    """A plain one serves: numbers with leading zeros, the first letters of a digest."""
    run = bench.generate(output_path=str(tmp_path), file_name="{index:03d}-{sha256:.8}.{ext}")
    assert run.state == "success", run.errors
    (name,) = files_in(tmp_path)
    assert name.startswith("000-")
    assert len(name) == len("000-01234567.jpeg")
