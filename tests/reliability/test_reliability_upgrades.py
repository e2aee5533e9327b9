"""What this version writes is read by the next ones: samples of it, held as the text that stands in databases.

A sample is never edited, only joined by those of later versions.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime, timezone
from typing import Any

import pytest

from airflow_provider_qwenimage import durable
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from airflow_provider_qwenimage.triggers import QwenImageTaskTrigger, WaitEvent

INTENT_0_1 = """{"fingerprint": "5ab1e9", "marker": 3, "intended_at": 1795370000.25,
 "generation_id": null, "submitted_at": null, "estimated_time": null}"""
RECORD_0_1 = """{"fingerprint": "5ab1e9", "marker": 3, "intended_at": 1795370000.25,
 "generation_id": "d425ab4dc256f0ebaa84862b9cea8a3d", "submitted_at": 1795370001.5, "estimated_time": 15}"""
TRIGGER_0_1 = """{"generation_id": "d425ab4dc256f0ebaa84862b9cea8a3d", "submitted_at": 1795370001.5,
 "deadline": 1795373601.5, "qwenimage_conn_id": "qwenimage_default", "estimated_time": 15, "poll_interval": null,
 "not_before": 1795370007.5, "resume": {"prompt": "a kite", "model_id": "0-24", "num_outputs": 1}}"""
TRIGGER_PATH_0_1 = "airflow_provider_qwenimage.triggers.QwenImageTaskTrigger"
EVENT_0_1 = """{"status": "success", "generation_id": "d425ab4dc256f0ebaa84862b9cea8a3d", "reason": "", "message": "",
 "submitted_at": 1795370001.5, "deadline": 1795373601.5,
 "resume": {"prompt": "a kite", "model_id": "0-24", "num_outputs": 1}}"""

# What is asked for and the id of the connection -> its digest: if one changes, every running task buys again.
FINGERPRINTS_0_1 = {
    "text": "0d6a4b6849be2959a73547ae3db425dcba9ededfd8b63b7a8032f66ec148b52e",
    "image": "bce82c3318d5ad3e57437fc6ac56d918954bdb383c1a5ff1ebdaa4863600a864",
}
KITE: dict[str, Any] = {"prompt": "a kite", "num_outputs": 2, "aspect_ratio": "4:3"}
PHOTO: dict[str, Any] = {"prompt": "ein Drachen 风筝", "image_urls": ["https://example.com/a.png"]}


def test_a_record_is_read():
    """A record of 0.1 is a generation to go on with."""
    record = durable.Record.read(json.loads(RECORD_0_1))
    assert record == durable.Record("5ab1e9", 3, 1795370000.25, "d425ab4dc256f0ebaa84862b9cea8a3d", 1795370001.5, 15)


def test_an_intent_is_read():
    """An intent of 0.1 is a submission whose outcome is unknown."""
    record = durable.Record.read(json.loads(INTENT_0_1))
    assert record == durable.Record("5ab1e9", 3, 1795370000.25)


def test_a_record_of_a_later_version_is_read():
    """A version that adds a member can be gone back from."""
    later = {**json.loads(RECORD_0_1), "batch": 7}
    assert durable.Record.read(later) == durable.Record.read(json.loads(RECORD_0_1))


def test_a_record_is_written_as_it_was():
    """This version writes what those before it can read: nothing is renamed or removed."""
    for text in (INTENT_0_1, RECORD_0_1):
        assert json.loads(text).items() <= durable.asdict(durable.Record.read(json.loads(text))).items()


def test_where_records_stand():
    """The names under which records are looked for do not change."""
    assert durable.STATE_KEY == "qwenimage_generation"
    assert durable.FOLDER == ".qwenimage"
    ti = type("Ti", (), {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1})
    store: Any = durable.store_for({"ti": ti}, "/images")
    assert str(store._path).endswith("/images/.qwenimage/ba99fc46b3f8f5ca66a2048934dba7c0.json")


@pytest.mark.parametrize(("name", "fields"), [("text", KITE), ("image", PHOTO)])
def test_a_request_keeps_its_fingerprint(name: str, fields: dict[str, Any]):
    """The same request has the same digest in every version; another one would make every retry buy again."""
    operator = QwenImageGenerateOperator(task_id="gen", **fields)
    request = GenerationRequest.checked(**{**operator.request_fields(), **fields})
    found = durable.fingerprint_of({**request.payload(), "image": None}, "qwenimage_default")
    assert found == FINGERPRINTS_0_1[name]


def test_a_trigger_row_is_read(service: Emulator):
    """A deferred task of 0.1 goes on in this version: its row makes a trigger, which runs."""
    generation_id = QwenImageHook().create_task(GenerationRequest(prompt="a kite")).generation_id
    row = {**json.loads(TRIGGER_0_1), "generation_id": generation_id}
    trigger = _load(TRIGGER_PATH_0_1)(**row)

    async def run() -> Any:
        return (await anext(trigger.run())).payload

    assert asyncio.run(run()) == {**json.loads(EVENT_0_1), "generation_id": generation_id, **_times(row)}


def test_a_trigger_row_is_written_as_it_was():
    """A row of this version has at least the members of 0.1, with the same meaning, so that it can be gone back to."""
    path, row = QwenImageTaskTrigger(**json.loads(TRIGGER_0_1)).serialize()
    assert path == TRIGGER_PATH_0_1
    assert json.loads(TRIGGER_0_1).items() <= row.items()


def test_a_trigger_needs_no_more_than_three_members():
    """Whatever is added is optional."""
    row = json.loads(TRIGGER_0_1)
    QwenImageTaskTrigger(**{name: row[name] for name in ("generation_id", "submitted_at", "deadline")})


def test_an_event_is_read():
    """A trigger of 0.1 may fire while the workers are upgraded."""
    event = WaitEvent.read(json.loads(EVENT_0_1))
    assert (event.status, event.resume) == ("success", {"prompt": "a kite", "model_id": "0-24", "num_outputs": 1})


@pytest.mark.parametrize("kind", [QwenImageGenerateOperator, QwenImageTaskSensor])
def test_a_deferred_task_is_resumed_by_the_same_method(kind: type):
    """Airflow has stored the name of the method: it stays."""
    assert callable(kind.execute_complete)


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(__import__(module, fromlist=[name]), name)


def _times(row: dict[str, Any]) -> dict[str, float]:
    # The sample's dates are no problem for a completed generation, whatever today is.
    assert row["deadline"] < datetime(2100, 1, 1, tzinfo=timezone.utc).timestamp()
    assert time.time() > 0
    return {"submitted_at": row["submitted_at"], "deadline": row["deadline"]}
