"""The example DAGs: they parse, serialize, and make images when they are run in a real Airflow."""

from __future__ import annotations

import gc
import json
import warnings
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version
from airflow_runs import EXAMPLES, AirflowHere, serialization, whole_image

from airflow_provider_qwenimage.emulator import Emulator

AIRFLOW_VERSION = tuple(map(int, airflow_version.split(".")[:2]))
# DAG id -> how many generations it buys, how many images it saves.
DAGS = {
    "qwenimage_text_to_image": (1, 1),
    "qwenimage_image_to_image": (2, 1),
    "qwenimage_many_prompts": (3, 3),
    "qwenimage_taskflow": (1, 2),
    "qwenimage_one_step": (1, 2),
    "qwenimage_image_from_bucket": (2, 2),
    "qwenimage_catalogue_from_table": (2, 2),
    "qwenimage_catalogue_in_chunks": (6, 6),
    "qwenimage_asset_producer": (1, 1),
    "qwenimage_nightly_with_credits_guard": (3, 3),
    "qwenimage_taskflow_decorator": (2, 2),
}
# These need an event or a person; tests/generate runs them.
OTHERS = {"qwenimage_asset_consumer"} | ({"qwenimage_human_review"} if AIRFLOW_VERSION >= (3, 1) else set())


def test_examples_parse_without_a_warning_of_ours(airflow: AirflowHere):
    """Every DAG is documented, and parsing makes neither an import error nor a warning of ours."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        bag = airflow.bag(EXAMPLES)
    assert set(bag.dags) == set(DAGS) | OTHERS
    assert all(dag.doc_md and "qwenimage" in dag.tags for dag in bag.dags.values())
    ours = [warning for warning in seen if "qwenimage" in warning.filename or "example_dags" in warning.filename]
    assert not ours, [str(warning.message) for warning in ours]


def test_examples_survive_serialization(airflow: AirflowHere, monkeypatch: pytest.MonkeyPatch):
    """What the web server reads back of an example has all its tasks, links and templates."""
    # Whoever reads DAGs without their links, as clearing a task does, sets this for all of the process.
    monkeypatch.setattr(serialization(), "_load_operator_extra_links", True)
    for dag in airflow.bag(EXAMPLES).dags.values():
        found = serialization().from_dict(serialization().to_dict(dag))
        assert set(found.task_dict) == set(dag.task_dict)
        for task_id, task in dag.task_dict.items():
            again = found.task_dict[task_id]
            assert set(again.template_fields) == set(task.template_fields)
            assert again.downstream_task_ids == task.downstream_task_ids
            assert {link.name for link in again.operator_extra_links} == {
                link.name for link in task.operator_extra_links
            }


@pytest.mark.parametrize("dag_id", DAGS)
def test_example_makes_images(
    dag_id: str,
    airflow: AirflowHere,
    service: Emulator,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    """An example run ends in success, buys what it asks for once, and its images are whole files."""
    table = {"conn_type": "sqlite", "host": str(tmp_path_factory.mktemp("table") / "products.db")}
    monkeypatch.setenv("AIRFLOW_CONN_SQLITE_DEFAULT", json.dumps(table))
    run = airflow.run(dag_id, output_path=f"file://{tmp_path}")
    purchases, images = DAGS[dag_id]
    assert run.state == "success"
    report = service.report()
    assert (report["bought"], report["violations"]) == (purchases, [])
    assert report["images_served"] == images
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in {".json", ".jsonl"})
    assert len(files) == images
    assert all(whole_image(path).size[0] > 0 for path in files)
    assert "Unclosed" not in _all_output(capfd)


def test_deferrable_example_really_defers(
    airflow: AirflowHere,
    service: Emulator,
    soon_deferred: None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    """Waits that take long go through the trigger, end in images, and leave no HTTP session open."""
    service.plan("get", "data", set={"status": 1}, delete=["result_urls"])
    run = airflow.run("qwenimage_many_prompts", output_path=f"file://{tmp_path}")
    output = _all_output(capfd) + caplog.text
    assert run.state == "success"
    assert "running trigger in line" in caplog.text
    assert [len(run.xcom("wait", map_index=index)) for index in range(3)] == [1, 1, 1]
    assert len(list(tmp_path.iterdir())) == service.report()["bought"] == 3
    assert "Unclosed" not in output


def _all_output(capfd: pytest.CaptureFixture[str]) -> str:
    gc.collect()  # a session that nobody closed complains when it is collected
    captured = capfd.readouterr()
    return captured.out + captured.err
