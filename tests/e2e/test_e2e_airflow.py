"""The example DAGs in a whole Airflow: scheduler, triggerer, DAG processor and API server as separate processes."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from running_airflow import KEY, RunningAirflow, is_free

pytestmark = pytest.mark.e2e

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parent.parent / "example_dags"
PATIENCE = 180  # seconds for all runs together

# DAG id -> how many generations it buys, how many images it saves, the tasks that show a link to the result.
DAGS = {
    "qwenimage_many_prompts": (3, 3, ("wait", "save")),
    "qwenimage_text_to_image": (1, 1, ("wait", "save")),
    "qwenimage_image_to_image": (2, 1, ("restyled", "save")),
    "qwenimage_taskflow": (1, 2, ("wait", "save")),
    "qwenimage_one_step": (1, 2, ()),
    "qwenimage_taskflow_decorator": (2, 2, ()),
}
DEFERRABLE, PROMPTS = "qwenimage_many_prompts", 3
BATCHES = ("batching_on_the_worker", "batching_deferred")
ANIMALS = ("cat", "dog", "fox", "owl")  # what each batch draws


@dataclass
class Seen:
    """What was seen while the DAGs ran."""

    runs: dict[str, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    deferred: list[dict[str, Any]] = field(default_factory=list)
    waves: dict[int, dict[str, Any]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAirflow]:
    """The running Airflow; whatever happens, nothing of it is left."""
    running = RunningAirflow(tmp_path_factory.mktemp("e2e") / "airflow")
    for file in (*EXAMPLES.glob("*.py"), *(HERE / "dags").glob("*.py")):
        shutil.copy(file, running.home / "dags")
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the DAGs save to, each to one of its own."""
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="module")
def seen(airflow: RunningAirflow, images: Path) -> Seen:
    """Run all DAGs to their ends, and note which tasks are deferred meanwhile, and with which triggers.

    The generations of the deferrable one go on until its waits have been seen deferred, however slow this machine is.
    """
    found = Seen()

    def trigger(dag_id: str) -> None:
        found.runs[dag_id] = airflow.trigger(dag_id, {"output_path": f"file://{images}/{dag_id}"})

    def deferred(dag_id: str) -> list[dict[str, Any]]:
        tis = airflow.api(f"dags/{dag_id}/dagRuns/~/taskInstances", state="deferred")["task_instances"]
        return [ti for ti in tis if ti["trigger"]]

    def all_deferred() -> bool:
        found.deferred = deferred(DEFERRABLE)
        return len(found.deferred) == PROMPTS

    def all_ended() -> bool:
        found.waves |= {ti["trigger"]["id"]: ti["trigger"] for dag_id in BATCHES for ti in deferred(dag_id)}
        for dag_id, run_id in found.runs.items():
            found.states[dag_id] = airflow.api(f"dags/{dag_id}/dagRuns/{run_id}")["state"]
        return all(state in ("success", "failed") for state in found.states.values())

    airflow.wait_for("the DAGs to be parsed", lambda: _parsed(airflow), 90)
    airflow.control("faults", {"endpoint": "create", "kind": "stuck", "times": PROMPTS})
    trigger(DEFERRABLE)
    airflow.wait_for("the waits to be deferred", all_deferred, PATIENCE)
    for index in range(PROMPTS):
        create = f"dags/{DEFERRABLE}/dagRuns/{found.runs[DEFERRABLE]}/taskInstances/create/xcomEntries/return_value"
        airflow.control(f"generations/{airflow.api(create, map_index=index)['value']}", {"state": "completed"})
    for dag_id in (*BATCHES, *DAGS.keys() - {DEFERRABLE}):
        trigger(dag_id)
    airflow.wait_for("the DAG runs to end", all_ended, PATIENCE)
    return found


def test_examples_have_no_import_errors(airflow: RunningAirflow, seen: Seen):
    """The DAG processor reads every example file without a complaint."""
    assert airflow.api("importErrors")["import_errors"] == []


@pytest.mark.parametrize("dag_id", DAGS)
def test_example_makes_images(dag_id: str, airflow: RunningAirflow, seen: Seen, images: Path):
    """Each example ends in success, at the first try of each task, with as many whole images as it is about."""
    assert seen.states[dag_id] == "success", airflow.tails()
    tries = airflow.api(f"dags/{dag_id}/dagRuns/{seen.runs[dag_id]}/taskInstances")["task_instances"]
    assert {ti["try_number"] for ti in tries} == {1}
    files = [path for path in (images / dag_id).rglob("*") if path.is_file() and path.suffix != ".json"]
    assert len(files) == DAGS[dag_id][1]
    for path in files:
        image = Image.open(io.BytesIO(path.read_bytes()))
        image.load()
        assert max(image.size) == 160


@pytest.mark.parametrize("dag_id", BATCHES)
def test_a_batch_is_made(dag_id: str, airflow: RunningAirflow, seen: Seen, images: Path):
    """At the first try, whole: images, manifest and summary, whether it waits on its worker or in the triggerer."""
    assert seen.states[dag_id] == "success", airflow.tails()
    path = f"dags/{dag_id}/dagRuns/{seen.runs[dag_id]}/taskInstances"
    (ti,) = airflow.api(path)["task_instances"]
    assert (ti["state"], ti["try_number"]) == ("success", 1)
    found = {key: airflow.api(f"{path}/batch/xcomEntries/{key}")["value"] for key in ("return_value", "summary")}
    summary = {name: value for name, value in found["summary"].items() if name != "seconds"}
    assert summary == {"asked": 4, "bought": 4, "saved": 4, "failed": 0}
    lines = [json.loads(line) for line in _file(found["return_value"]).read_text().splitlines()]
    assert [(line["key"], line["outcome"], line["error"]) for line in lines] == [
        (key, "saved", None) for key in ANIMALS
    ]
    assert len({line["generation_id"] for line in lines}) == 4
    assert sorted(path.name for path in (images / dag_id).glob("*.jpeg")) == [f"{key}.jpeg" for key in ANIMALS]
    for line in lines:
        (record,) = line["images"]
        content = _file(record["path"]).read_bytes()
        Image.open(io.BytesIO(content)).load()
        assert hashlib.sha256(content).hexdigest() == record["sha256"]


def test_each_wave_of_a_batch_was_deferred(airflow: RunningAirflow, seen: Seen):
    """The deferrable one, and only that, gave its slot away twice; its triggers' rows hold neither key nor URL."""
    assert [trigger["classpath"] for trigger in seen.waves.values()] == [
        "airflow_provider_qwenimage.batch.trigger.QwenImageBatchTrigger"
    ] * 2
    assert KEY not in repr(seen.waves)
    assert "http" not in repr([trigger["kwargs"] for trigger in seen.waves.values()])


def test_bought_is_what_was_asked_for(airflow: RunningAirflow, seen: Seen):
    """The service has sold as many generations as the DAGs have asked for, each once, and nothing broke its rules."""
    report = airflow.report()
    asked = sum(purchases for purchases, _, _ in DAGS.values()) + len(BATCHES) * len(ANIMALS)
    assert report["bought"] == report["requests"]["create"] == asked
    assert report["generations"]["failed"] == 0
    assert report["violations"] == []


def test_waits_were_deferred(airflow: RunningAirflow, seen: Seen):
    """The deferrable sensors gave their slots away; their rows hold our trigger, and neither key nor URL."""
    assert sorted(ti["map_index"] for ti in seen.deferred) == [0, 1, 2]
    triggers = [ti["trigger"] for ti in seen.deferred]
    assert {trigger["classpath"] for trigger in triggers} == {
        "airflow_provider_qwenimage.triggers.QwenImageTaskTrigger"
    }
    assert KEY not in repr(triggers)
    assert "http" not in repr([trigger["kwargs"] for trigger in triggers])
    assert "Unclosed" not in airflow.output_of("triggerer")


@pytest.mark.parametrize("dag_id", [dag_id for dag_id, (_, _, tasks) in DAGS.items() if tasks])
def test_the_result_is_one_click_away(dag_id: str, airflow: RunningAirflow, seen: Seen):
    """The link to the first image is there for the task that waited and for the one that saved."""
    for task_id in DAGS[dag_id][2]:
        instances = airflow.api(f"dags/{dag_id}/dagRuns/{seen.runs[dag_id]}/taskInstances", task_id=task_id)
        for ti in instances["task_instances"]:
            path = f"dags/{dag_id}/dagRuns/{seen.runs[dag_id]}/taskInstances/{task_id}/links"
            links = airflow.api(path, map_index=ti["map_index"])["extra_links"]
            assert links["Result"].startswith(f"{airflow.service}/images/")
            content = airflow.http.get(links["Result"], headers={"Authorization": None}, timeout=10).content
            assert Image.open(io.BytesIO(content)).format == "JPEG"


def test_the_connection_can_be_tested(airflow: RunningAirflow):
    """``airflow connections test`` reaches the service."""
    before = airflow.report()["requests"]["get_credits"]
    assert "Connection success" in airflow.cli("connections", "test", "qwenimage_default")
    assert airflow.report()["requests"]["get_credits"] == before + 1


def test_everything_ends_and_the_key_is_nowhere(airflow: RunningAirflow, seen: Seen, images: Path):
    """All processes end when they are told to, free their ports, and have written the key to no place."""
    airflow.stop()
    assert airflow.alive() == []
    assert {port: is_free(port) for port in airflow.ports.values()} == dict.fromkeys(airflow.ports.values(), True)
    output = {path.name: path.read_bytes() for path in airflow.output.iterdir()}
    # The service itself tells its key when it starts.
    assert KEY.encode() in output.pop("service.log")
    logs = list(airflow.home.glob("logs/dag_id=*/**/*.log"))
    assert any(b"Submitted generation" in path.read_bytes() for path in logs)
    assert (airflow.home / "airflow.db").exists()
    needles = (KEY.encode(), base64.b64encode(KEY.encode()), KEY.encode().hex().encode())
    for folder in (airflow.home, images):
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "service.log":
                content = path.read_bytes()
                assert not any(needle in content for needle in needles), path


def _file(path: str) -> Path:
    return Path(path.removeprefix("file://"))


def _parsed(airflow: RunningAirflow) -> bool:
    return {*DAGS, *BATCHES} <= {dag["dag_id"] for dag in airflow.api("dags")["dags"]}
