"""The trigger of a wave, as Airflow stores and runs it; and what a DAG file pays for the operator."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_qwenimage import clients
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.batch.trigger import QwenImageBatchTrigger, summary_of
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook

# It stands in metadata databases while tasks wait: never edited, only joined by those of later versions.
TRIGGER_0_1 = """{"generations": [["d425ab4dc256f0ebaa84862b9cea8a3d", 1795370001.5, 1795373601.5, 15],
 ["cf0ddb5ad6a0f0c85ab4d1dceb9fd89c", 1795370002.5, 1795373602.5, null]],
 "qwenimage_conn_id": "qwenimage_default", "poll_interval": null, "least_seconds": 6.0}"""


def fired(trigger: QwenImageBatchTrigger) -> Any:
    async def run() -> Any:
        return [event.payload async for event in trigger.run()]

    (event,) = asyncio.run(run())
    return event


def bought(number: int) -> list[str]:
    client = QwenImageHook().get_conn()
    return [client.create_task(GenerationRequest(prompt="a kite")).generation_id for _ in range(number)]


def trigger(ids: list[str], seconds: float = 30.0, **more: Any) -> QwenImageBatchTrigger:
    now = time.time()
    return QwenImageBatchTrigger([[name, now, now + seconds, None] for name in ids], poll_interval=0.1, **more)


def test_a_stored_trigger_is_read():
    """A wave that was deferred by the first version is waited for by this one, under the same class path."""
    path, arguments = QwenImageBatchTrigger(**json.loads(TRIGGER_0_1)).serialize()
    assert path == "airflow_provider_qwenimage.batch.trigger.QwenImageBatchTrigger"
    assert arguments == json.loads(TRIGGER_0_1)


def test_one_event_for_all(service: Emulator):
    """It fires once, when the last one has ended, whatever became of each; the event has no URL and no key."""
    service.plan("create", "fail", skip=1, times=1)
    event = fired(trigger(bought(3)))
    assert event == {"status": "done", "message": "2 of 3 generations are completed"}
    assert summary_of(event) == "done. 2 of 3 generations are completed"
    assert service.report()["bought"] == 3


def test_each_has_its_own_deadline(service: Emulator):
    """One that never ends does not hold the event up for longer than that."""
    service.plan("create", "stuck", times=1)
    assert fired(trigger(bought(2), seconds=0.5))["message"] == "1 of 2 generations are completed"


def test_the_service_away_is_borne(service: Emulator):
    """Polls that fail end no wait."""
    ids = bought(2)
    service.plan("get", "http_error", status=500, times=4)
    assert fired(trigger(ids))["message"] == "2 of 2 generations are completed"


def test_no_event_too_soon(service: Emulator):
    """Airflow's scheduler fails deferrals that end at once."""
    began = time.monotonic()
    fired(trigger(bought(1), least_seconds=0.5))
    assert time.monotonic() - began >= 0.5


def test_a_wait_that_can_not_go_on_says_so(service: Emulator, airflow_db: Path):
    """The worker then asks the service itself: an event of its own, not a trigger that dies."""
    began = time.monotonic()
    event = fired(trigger(["g", "h"], qwenimage_conn_id="no_such_connection", least_seconds=0.5))
    assert event["status"] == "error"
    assert "see the triggerer's log" in summary_of(event)
    assert time.monotonic() - began >= 0.5  # this event too would meet the scheduler too soon


def test_a_wave_goes_on_with_a_new_key(service: Emulator, monkeypatch: pytest.MonkeyPatch):
    """A key that is changed in the connection meanwhile is taken up when the service refuses the old one."""
    ids = bought(3)
    right = os.environ["AIRFLOW_CONN_QWENIMAGE_DEFAULT"]
    monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", right.replace(service.api_key, "key_of_yesterday"))
    monkeypatch.setattr(clients, "LEAST_AGE", 0)

    async def change_meanwhile() -> Any:
        await clients.shared_client("qwenimage_default")
        monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", right)
        return [event.payload async for event in trigger(ids).run()]

    (event,) = asyncio.run(change_meanwhile())
    assert event["message"] == "3 of 3 generations are completed"


@pytest.mark.parametrize("event", [None, {}, "done", {"status": "success", "message": ""}, {"status": "done"}])
def test_an_unknown_event_is_no_success(event: Any):
    """The try fails, and the next one goes on."""
    with pytest.raises(ValueError, match="not understood"):
        summary_of(event)


PARSED = """
import sys
from airflow import DAG
before = set(sys.modules)
from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator
with DAG("x", schedule=None):
    QwenImageBatchGenerateOperator(task_id="x", requests=["a", {"prompt": "b"}], output_path="/tmp/x")
print(*sorted(set(sys.modules) - before))
"""


def test_a_dag_file_loads_no_pipeline():
    """What parses a DAG loads no event loop machinery, no database, no HTTP client and no models of ours."""
    done = subprocess.run([sys.executable, "-c", PARSED], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    ours = {name for name in loaded if name.startswith("airflow_provider_qwenimage.batch")}
    assert ours == {"airflow_provider_qwenimage.batch", "airflow_provider_qwenimage.batch.literals"}
    assert not {"sqlite3", "aiohttp", "requests", "fsspec", "airflow_provider_qwenimage.api.models"} & loaded
