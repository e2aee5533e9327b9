"""Assets (datasets, on 2.11): what outlets tell, and that a DAG scheduled on them learns of new images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dags_made_here import Bench, asset_events, register, task, trigger_by_events

from airflow_provider_qwenimage._compat import AIRFLOW, AIRFLOW_3, asset_types
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator
from airflow_provider_qwenimage.transfers import QwenImageToObjectStorageOperator

Asset, AssetAlias = asset_types()
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


@MODES
def test_event_says_what_was_made(deferrable: bool, bench: Bench, service: Emulator, tmp_path: Path):
    """The event of a declared asset has the paths and the generation id, and they are the task's own."""
    outlet = Asset(f"file://{tmp_path}")
    run = bench.generate(num_outputs=2, output_path=str(tmp_path), outlets=[outlet], deferrable=deferrable)
    (event,) = asset_events(run)
    assert event.extra == {"paths": run.xcom("gen"), "generation_id": run.xcom("gen", "generation_id")}
    assert _uri(event) == outlet.uri


@MODES
def test_alias_gets_one_asset_per_folder(deferrable: bool, bench: Bench, service: Emulator, tmp_path: Path):
    """However many images: an alias gets one asset, the output folder. Airflow 3.0 stores no list for it."""
    alias = AssetAlias(f"images-{tmp_path.name}-{deferrable}")
    run = bench.generate(num_outputs=3, output_path=str(tmp_path), outlets=[alias], deferrable=deferrable)
    (event,) = asset_events(run)
    assert run.state == "success"
    assert _uri(event) == f"file://{tmp_path}"
    paths = event.extra["paths"]
    assert (json.loads(paths) if AIRFLOW == (3, 0) else paths) == run.xcom("gen")


def test_images_that_stay_at_the_service(bench: Bench, service: Emulator, tmp_path: Path):
    """Without output_path an asset is told the generation alone, and an alias gets nothing: there is no folder."""
    outlets = [Asset(f"file://{tmp_path}"), AssetAlias(f"images-{tmp_path.name}")]
    run = bench.generate(outlets=outlets)
    (event,) = asset_events(run)
    assert event.extra == {"paths": [], "generation_id": run.xcom("gen", "generation_id")}


def test_mapped_tasks_and_the_decorator(bench: Bench, service: Emulator, tmp_path: Path):
    """Each mapped task leaves an event of its own, with its own files."""

    def build() -> None:
        @task.qwenimage(output_path=str(tmp_path), outlets=[Asset(f"file://{tmp_path}")])
        def gen(what: str) -> str:
            return what

        gen.expand(what=["a kite", "a boat"])

    run = bench.run_one(build)
    found = sorted((event.extra["paths"] for event in asset_events(run)), key=str)
    assert found == sorted((run.xcom("gen", map_index=index) for index in (0, 1)), key=str)


def test_save_operator_tells_them_too(bench: Bench, service: Emulator, tmp_path: Path):
    """The transfer of the split pipeline announces its files as well."""

    def build() -> None:
        made = QwenImageGenerateOperator(task_id="gen", prompt="a kite")
        QwenImageToObjectStorageOperator(
            task_id="save",
            result_urls=made.output,
            output_path=str(tmp_path),
            outlets=[Asset(f"file://{tmp_path}")],
        )

    run = bench.run_one(build)
    (event,) = asset_events(run)
    assert event.extra["paths"] == run.xcom("save")


def test_a_failed_task_tells_nothing(bench: Bench, service: Emulator, tmp_path: Path):
    """No images, no event."""
    service.plan("create", "fail")
    run = bench.generate(output_path=str(tmp_path), outlets=[Asset(f"file://{tmp_path}")])
    assert run.state == "failed"
    assert asset_events(run) == []


@MODES
def test_scheduled_dag_runs(deferrable: bool, bench: Bench, service: Emulator, tmp_path: Path):
    """A DAG that is scheduled on the asset is queued by the event, and its run reads the paths from it."""
    outlet = Asset(f"file://{tmp_path}")
    with bench.dag(schedule=[outlet]) as consumer:

        @task
        def look(triggering_asset_events: Any = None, triggering_dataset_events: Any = None) -> list[str]:
            events = triggering_asset_events or triggering_dataset_events
            return [path for asset in events for event in events[asset] for path in event.extra["paths"]]

        look()
    register(consumer)
    _unpause(consumer.dag_id)
    made = bench.generate(output_path=str(tmp_path), outlets=[outlet], deferrable=deferrable)
    assert consumer.dag_id in _queued()
    run = trigger_by_events(consumer, asset_events(made))
    assert run.xcom("look") == made.xcom("gen")


def _uri(event: Any) -> str:
    return str(event.asset.uri if AIRFLOW_3 else event.dataset.uri)


def _unpause(dag_id: str) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(DagModel).filter_by(dag_id=dag_id).update({"is_paused": False})


def _queued() -> list[str]:
    """The DAGs that the scheduler will run because of asset events."""
    from airflow.utils.session import create_session

    if AIRFLOW_3:
        from airflow.models.asset import AssetDagRunQueue as Queue
    else:
        from airflow.models.dataset import DatasetDagRunQueue as Queue
    with create_session() as session:
        return [row.target_dag_id for row in session.query(Queue)]
