"""The batch operator in a real Airflow: ``dag.test()``, mapping, retries, Clear, time limits, XComs, assets."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import reliability_tries
from batch_tries import books, manifest_in, plain
from dags_made_here import Bench, asset_events, files_in, task, xcoms

from airflow_provider_qwenimage._compat import AirflowFailException, asset_types
from airflow_provider_qwenimage.batch.report import BatchError
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator

try:
    from airflow.sdk.exceptions import AirflowTaskTimeout
except ImportError:
    from airflow.exceptions import AirflowTaskTimeout

TASK = "gen"


def batch(**arguments: Any) -> QwenImageBatchGenerateOperator:
    return QwenImageBatchGenerateOperator(**{"task_id": TASK, "poll_interval": 0.2, **arguments})


@pytest.mark.parametrize("fails", [False, True], ids=["all saved", "one failed"])
def test_sync_and_deferrable_end_alike(fails: bool, bench: Bench, start: Callable[..., Emulator], tmp_path: Path):
    """Equal states, XComs, manifests, files, errors and purchases; ``test_batch_parity.py`` has more endings."""

    def outcome(*, deferrable: bool) -> dict[str, Any]:
        emulator, folder = start(duration=0.4), tmp_path / str(deferrable)
        if fails:
            emulator.plan("create", "fail", times=1)
        whole = {"requests": ["a", "b", "c"], "max_active": 1, "output_path": str(folder), "file_name": "{key}.{ext}"}
        run = bench.run_one(lambda: batch(**whole, num_outputs=1, deferrable=deferrable))
        xcom = {key: value for key, value in xcoms(run.tis[TASK, -1]).items() if not key.startswith("_link")}
        return {
            "state": run.state_of(TASK),
            "xcoms": plain({name: value for name, value in xcom.items() if name != "return_value"}, emulator, folder),
            "manifest": plain(list(manifest_in(str(folder))), emulator, folder),
            "files": sorted(name for name in files_in(folder) if not name.startswith("manifest")),
            "errors": [(type(error), isinstance(error, AirflowFailException)) for _, error in run.errors],
            "report": books(emulator),
            "returned": "return_value" in xcom,
        }

    assert outcome(deferrable=False) == outcome(deferrable=True)


def test_mapped_chunks_of_another_task(bench: Bench, service: Emulator, tmp_path: Path):
    """``.partial().expand(requests=chunks)``: each instance has its own manifest and ledger in one folder."""

    def build() -> None:
        @task
        def chunks() -> list[list[dict[str, str]]]:
            return [[{"prompt": f"picture {i}", "key": f"k{i}"} for i in range(at, at + 3)] for at in (0, 3, 6)]

        QwenImageBatchGenerateOperator.partial(
            task_id=TASK, output_path=str(tmp_path), file_name="{key}.{ext}", poll_interval=0.2
        ).expand(requests=chunks())

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    paths = [run.xcom(TASK, map_index=index) for index in range(3)]
    assert len(set(paths)) == 3
    keys = [json.loads(line)["key"] for path in paths for line in Path(path).read_text().splitlines()]
    assert keys == [f"k{i}" for i in range(9)]
    assert sorted(path.name for path in tmp_path.glob("*.jpeg")) == [f"k{i}.jpeg" for i in range(9)]
    assert service.report()["bought"] == 9


def test_outputs_of_mapped_tasks_are_a_sequence_of_requests(bench: Bench, service: Emulator, tmp_path: Path):
    """What many tasks return is one lazy sequence; a prompt of each becomes a request."""

    def build() -> None:
        @task
        def prompt(animal: str) -> str:
            return f"a {animal} at dusk"

        batch(requests=prompt.expand(animal=["cat", "dog", "fox"]), output_path=str(tmp_path))

    run = bench.run_one(build)
    assert run.state == "success", run.errors
    found = [json.loads(line)["request"]["prompt"] for line in Path(run.xcom(TASK)).read_text().splitlines()]
    assert found == ["a cat at dusk", "a dog at dusk", "a fox at dusk"]


def test_templates_are_rendered(bench: Bench, service: Emulator, tmp_path: Path):
    """Prompts, paths and numbers may be templates."""
    source = tmp_path / "r.csv"
    source.write_text("prompt\na cat\n")
    run = bench.run_one(
        lambda: batch(
            requests="{{ dag_run.conf['source'] }}",
            output_path="{{ dag_run.conf['folder'] }}",
            num_outputs="{{ 1 + 1 }}",
            max_active="{{ 3 }}",
            file_name="{{ task.task_id }}-{key}-{index}.{ext}",
            manifest="{{ dag_run.conf['folder'] }}/m.jsonl",
        ),
        source=str(source),
        folder=str(tmp_path / "out"),
    )
    assert run.state == "success", run.errors
    assert sorted(files_in(tmp_path / "out")) == ["gen-0-0.jpeg", "gen-0-1.jpeg", "m.jsonl"]
    assert run.xcom(TASK) == str(tmp_path / "out" / "m.jsonl")


def test_no_xcoms_where_none_are_wanted(bench: Bench, service: Emulator, tmp_path: Path):
    """do_xcom_push=False is honoured."""
    run = bench.run_one(lambda: batch(requests=["a cat"], output_path=str(tmp_path), do_xcom_push=False))
    assert run.state == "success", run.errors
    assert not {"return_value", "summary", "images"} & set(xcoms(run.tis[TASK, -1]))


def test_outlets_are_told_the_manifest(bench: Bench, service: Emulator, tmp_path: Path):
    """The event of an asset has the manifest's path, not ten thousand others."""
    asset, _ = asset_types()
    run = bench.run_one(lambda: batch(requests=["a cat"], output_path=str(tmp_path), outlets=[asset("file:///shop")]))
    (event,) = asset_events(run)
    assert event.extra == {"manifest": run.xcom(TASK), "saved": 1}


def tries_of(bench: Bench, **arguments: Any) -> reliability_tries.Tries:
    return reliability_tries.Tries(bench, lambda: batch(**arguments))


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_retry_clear_and_resume(deferrable: bool, bench: Bench, service: Emulator, tmp_path: Path):
    """With a real task instance: Airflow's retry goes on, a Clear buys anew, unless it is to resume."""
    service.plan("create", "fail", times=1)
    run = tries_of(bench, requests=["a", "b", "c"], output_path=str(tmp_path), max_active=1, deferrable=deferrable)
    assert run.next() == "up_for_retry"
    assert isinstance(run.error, BatchError)
    assert run.next() == "success"
    assert service.report()["bought"] == 4
    assert run.xcom("summary")["bought"] == 4
    run.clear()
    assert run.next() == "success"
    assert run.xcom("summary")["bought"] == 3
    assert service.report()["bought"] == 7
    run.change(resume_on_clear=True)
    run.clear()
    assert run.next() == "success"
    assert service.report()["bought"] == 7


def test_a_lost_trigger_is_rescued(bench: Bench, start: Callable[..., Emulator], tmp_path: Path):
    """Airflow gives up on a trigger: the worker goes on in the same try, wave by wave."""
    service = start(duration=1.0)
    run = tries_of(bench, requests=["a", "b", "c"], output_path=str(tmp_path), max_active=2, deferrable=True)
    assert run.next(triggerer=False) == "deferred"
    assert service.report()["bought"] == 2
    assert run.lose_the_trigger("crash") == "success"
    assert service.report()["bought"] == 3


def test_execution_timeout_ends_it_cleanly(
    bench: Bench,
    start: Callable[..., Emulator],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    """Airflow raises in the main thread; the loop ends, nothing is lost, and the retry goes on."""
    service = start(duration=3.0)
    run = tries_of(
        bench, requests=["a", "b"], output_path=str(tmp_path), execution_timeout=timedelta(seconds=1.5), max_active=2
    )
    with suppress(AirflowTaskTimeout):  # it gets as far as this on 2.11, where it is no Exception
        assert run.next() == "up_for_retry"
        assert isinstance(run.error, AirflowTaskTimeout)
    assert "2 generations go on at the service and may be charged" in caplog.text + capfd.readouterr().out
    run.change(execution_timeout=timedelta(seconds=60))
    assert run.next() == "success"
    assert service.report()["bought"] == 2


def test_execution_timeout_bounds_a_deferred_try(bench: Bench, start: Callable[..., Emulator], tmp_path: Path):
    """Airflow 3 does not apply it to deferrals: the wait ends by itself, and nothing more is submitted."""
    service = start(duration=60)
    run = tries_of(
        bench,
        requests=["a", "b", "c"],
        output_path=str(tmp_path),
        execution_timeout=timedelta(seconds=2),
        max_active=2,
        deferrable=True,
    )
    assert run.next() == "up_for_retry"
    assert isinstance(run.error, BatchError)
    assert "1 not_submitted, 2 timeout" in str(run.error)
    assert service.report()["bought"] == 2
