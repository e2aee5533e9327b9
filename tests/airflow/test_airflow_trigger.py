"""The trigger: what it fires for each outcome, what it leaves behind, and that it never holds up its event loop."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
import time
import warnings
from typing import Any

import pytest
from airflow.triggers.base import TriggerEvent

from airflow_provider_qwenimage import clients, sessions
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.triggers import QwenImageTaskTrigger, WaitEvent

# As the database of somebody's Airflow holds it, from version 0.1.0 on: it must keep working.
STORED = """["airflow_provider_qwenimage.triggers.QwenImageTaskTrigger",
 {"generation_id": "d425ab4dc256f0ebaa84862b9cea8a3d", "submitted_at": 1790000000.25, "deadline": 1790003600.25,
  "estimated_time": 15, "poll_interval": null, "not_before": 1790000006.5, "qwenimage_conn_id": "qwenimage_default"}]"""

WRONG_KEY = {"kind": "refuse", "message": "Invalid API KEY"}
NOT_FOUND = {"kind": "refuse", "message": "Task not found", "status": 404}


def submit() -> str:
    return QwenImageHook().create_task(GenerationRequest(prompt="a kite")).generation_id


def trigger(generation_id: str, timeout: float = 30, **arguments: Any) -> QwenImageTaskTrigger:
    now = time.time()
    return QwenImageTaskTrigger(generation_id, now, now + timeout, **{"poll_interval": 0.1, **arguments})


async def fired(waiting: QwenImageTaskTrigger) -> dict[str, Any]:
    """Return the payload of the only event."""
    events = [event async for event in waiting.run()]
    assert [type(event) for event in events] == [TriggerEvent]
    return events[0].payload


def test_serialization_is_a_round_trip():
    """What Airflow stores is plain JSON, and makes the same trigger again."""
    first = trigger("g", estimated_time=15, poll_interval=None, qwenimage_conn_id="other", not_before=3.5)
    path, arguments = first.serialize()
    module, _, name = path.rpartition(".")
    again = getattr(__import__(module, fromlist=[name]), name)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert arguments["qwenimage_conn_id"] == "other"


def test_what_was_stored_before_still_works():
    """A trigger row of an earlier version is read back whole after an upgrade."""
    path, arguments = json.loads(STORED)
    again = QwenImageTaskTrigger(**arguments)
    assert again.serialize()[0] == path
    assert arguments.items() <= again.serialize()[1].items()


@pytest.mark.parametrize(
    ("fault", "get_fault", "status", "reason"),
    [
        (None, None, "success", ""),
        ({"kind": "fail"}, None, "failed", "GenerationFailedError"),
        ({"kind": "missing_urls", "urls": "empty"}, None, "failed", "NoImagesError"),
        (None, {**WRONG_KEY, "times": 9}, "failed", "AuthenticationError"),
        (None, {**NOT_FOUND, "times": 9}, "failed", "NotFoundError"),
        ({"kind": "stuck"}, None, "timeout", "GenerationTimeoutError"),
        (None, {"kind": "http_error", "times": 100}, "timeout", "GenerationTimeoutError"),
    ],
)
def test_one_event_for_each_outcome(
    fault: dict[str, Any] | None,
    get_fault: dict[str, Any] | None,
    status: str,
    reason: str,
    service: Emulator,
    monkeypatch: pytest.MonkeyPatch,
):
    """The event says how the wait ended and why; it holds no URL and no key, and the worker can read it."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.NOT_FOUND_GRACE", 0.0)
    if fault:
        service.plan("create", **fault)
    waiting = trigger(submit(), timeout=0.6 if status == "timeout" else 30)
    if get_fault:
        service.plan("get", **get_fault)
    payload = asyncio.run(fired(waiting))
    assert (payload["status"], payload["reason"]) == (status, reason)
    assert (payload["generation_id"], payload["deadline"]) == (waiting.generation_id, waiting.deadline)
    assert bool(payload["message"]) == (status != "success")
    assert WaitEvent.read(json.loads(json.dumps(payload))).status == status
    assert "http://" not in repr(payload)
    assert service.api_key not in repr(payload) + repr(waiting.serialize())


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "http_error", "status": 500, "body": "text"},
        {"kind": "http_error", "status": 429, "retry_after": 0},
        {"kind": "close_before"},
        {"kind": "close_after"},
        {"kind": "truncated"},
        {"kind": "malformed"},
        {"kind": "html"},
        {"kind": "refuse", "status": 502, "message": "Bad gateway"},
        {"kind": "oversized"},
        NOT_FOUND,  # the generation is new: nobody promises that it is known at once
        {"kind": "data", "set": {"status": 9}},
        {"kind": "data", "set": {"task_id": "another"}},
    ],
)
def test_failed_polls_are_tolerated(fault: dict[str, Any], service: Emulator):
    """What may pass does not end the wait: after two bad answers the third is the result."""
    waiting = trigger(submit())
    service.plan("get", **fault, times=2)
    assert asyncio.run(fired(waiting))["status"] == "success"
    assert service.report()["requests"]["get"] == 3


@pytest.mark.parametrize(
    ("connection", "reason"),
    [(None, "AirflowNotFoundException"), ("qwenimage://127.0.0.1:1", "InvalidSettingsError")],
)
def test_a_wait_that_can_not_go_on_says_so(
    connection: str | None, reason: str, airflow: Any, monkeypatch: pytest.MonkeyPatch
):
    """A missing or unusable connection ends in an event, not in an exception that Airflow would word for us."""
    monkeypatch.delenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", raising=False)
    if connection:
        monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", connection)
    payload = asyncio.run(fired(trigger("g")))
    assert (payload["status"], payload["reason"]) == ("error", reason)


def test_no_event_before_its_time(service: Emulator):
    """not_before holds back the first poll, and so the event, even if the generation is long completed."""
    now = time.time()
    waiting = trigger(submit(), not_before=now + 0.5)
    assert asyncio.run(fired(waiting))["status"] == "success"
    (polled,) = [entry["time"] for entry in service.requests() if entry["endpoint"] == "get"]
    assert polled >= now + 0.5


def test_no_event_before_the_trigger_has_run_for_a_while(service: Emulator):
    """least_seconds counts from the start in the triggerer, however long ago the trigger was made."""
    waiting = trigger(submit(), least_seconds=0.5, not_before=1.0)
    _, stored = waiting.serialize()
    now = time.time()
    assert asyncio.run(fired(QwenImageTaskTrigger(**stored)))["status"] == "success"
    (polled,) = [entry["time"] for entry in service.requests() if entry["endpoint"] == "get"]
    assert polled >= now + 0.5


def test_fifty_waits_share_one_session(service: Emulator, monkeypatch: pytest.MonkeyPatch):
    """All triggers of a loop use one session, which is closed when the last one leaves."""
    service.plan("create", "stuck", times=50)
    ids = [submit() for _ in range(50)]
    made = _record_sessions(monkeypatch)

    async def complete_when_all_have_asked() -> None:
        while _asked_about(service) != set(ids):  # noqa: ASYNC110 - the service is in another thread
            await asyncio.sleep(0.05)
        for generation_id in ids:
            service.state.finish(generation_id, "completed")

    async def wait_for_all() -> list[dict[str, Any]]:
        waits = [fired(trigger(generation_id, timeout=120)) for generation_id in ids]
        *payloads, _ = await asyncio.gather(*waits, complete_when_all_have_asked())
        return payloads

    payloads = asyncio.run(wait_for_all())
    assert {payload["status"] for payload in payloads} == {"success"}
    assert {payload["generation_id"] for payload in payloads} == set(ids)
    assert len(made) == 1
    assert made[0].closed
    assert not sessions._by_loop


def test_each_loop_has_a_session_of_its_own(service: Emulator, monkeypatch: pytest.MonkeyPatch):
    """One loop after the other, as in dag.test(), works, and leaves nothing open."""
    made = _record_sessions(monkeypatch)
    for _ in range(3):
        assert asyncio.run(fired(trigger(submit())))["status"] == "success"
    assert len(made) == 3
    assert all(session.closed for session in made)


def test_cancelled_waits_close_the_session(service: Emulator, caplog: pytest.LogCaptureFixture):
    """A triggerer that stops cancels its triggers: no session is left open, whoever goes first, and no event fires."""
    service.plan("create", "stuck", times=3)
    ids = [submit() for _ in range(3)]

    async def cancel_them() -> None:
        tasks = [asyncio.create_task(fired(trigger(generation_id))) for generation_id in ids]
        while service.report()["requests"]["get"] < 3:  # noqa: ASYNC110 - the service is in another thread
            await asyncio.sleep(0.01)
        assert len(sessions._by_loop) == 1
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(found) for found in ended] == [asyncio.CancelledError] * 3
        assert not sessions._by_loop

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        asyncio.run(cancel_them())
        gc.collect()
    assert "Unclosed" not in caplog.text
    assert not [warning for warning in seen if issubclass(warning.category, ResourceWarning)]


def test_the_loop_is_never_held_up(service: Emulator, monkeypatch: pytest.MonkeyPatch):
    """A secrets backend that takes long holds up its own trigger only, not the hundreds that share the loop."""
    slow = 2.0
    look_up = QwenImageHook.get_connection

    def take_long(conn_id: str) -> Any:
        time.sleep(slow)
        return look_up(conn_id)

    monkeypatch.setattr(QwenImageHook, "get_connection", staticmethod(take_long))
    stalls: list[float] = []

    async def watch() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            stalls.append(time.perf_counter() - before)

    async def wait() -> dict[str, Any]:
        watching = asyncio.create_task(watch())
        try:
            return await fired(waiting)
        finally:
            watching.cancel()

    generation_id = _submit_with(look_up)
    waiting = trigger(generation_id)
    assert asyncio.run(wait())["status"] == "success"
    assert max(stalls) < slow  # a look-up on the loop would be one stall at least as long as itself


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the connections that were looked up."""
    look_up, asked = QwenImageHook.get_connection, []

    def count(conn_id: str) -> Any:
        asked.append(conn_id)
        return look_up(conn_id)

    monkeypatch.setattr(QwenImageHook, "get_connection", staticmethod(count))
    return asked


def test_looks_the_connection_up_once(service: Emulator, looked_up: list[str]):
    """Five polls of one wait ask the secrets backend once."""
    generation_id = submit()
    looked_up.clear()
    service.plan("get", "http_error", status=503, times=4)
    assert asyncio.run(fired(trigger(generation_id)))["status"] == "success"
    assert service.report()["requests"]["get"] == 5
    assert looked_up == ["qwenimage_default"]


def test_waits_that_start_together_look_the_connection_up_once(service: Emulator, looked_up: list[str]):
    """Thousands of triggers after a restart do not queue for the secrets backend."""
    ids = [submit() for _ in range(5)]
    looked_up.clear()

    async def wait() -> list[dict[str, Any]]:
        return await asyncio.gather(*(fired(trigger(each)) for each in ids))

    assert [event["status"] for event in asyncio.run(wait())] == ["success"] * 5
    assert looked_up == ["qwenimage_default"]


def test_a_wait_goes_on_with_a_new_key(service: Emulator, monkeypatch: pytest.MonkeyPatch, looked_up: list[str]):
    """A key that is changed in the connection is taken up by a running wait when the service refuses the old one."""
    generation_id = submit()
    right = os.environ["AIRFLOW_CONN_QWENIMAGE_DEFAULT"]
    monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", right.replace(service.api_key, "key_of_yesterday"))
    monkeypatch.setattr(clients, "LEAST_AGE", 0)

    async def change_meanwhile() -> dict[str, Any]:
        await clients.shared_client("qwenimage_default")
        monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", right)
        return await fired(trigger(generation_id))

    looked_up.clear()
    assert asyncio.run(change_meanwhile())["status"] == "success"
    assert looked_up == ["qwenimage_default"] * 2


def test_a_look_up_that_fails_or_is_given_up_does_not_hurt_others(service: Emulator, monkeypatch: pytest.MonkeyPatch):
    """One waiter's end does not take the look-up from the others; one that failed is made again by the next."""
    look_up, lets_go = QwenImageHook.get_connection, threading.Event()

    def fail(conn_id: str) -> Any:
        raise RuntimeError("the secrets backend is away")

    def hang(conn_id: str) -> Any:
        assert lets_go.wait(10)
        return look_up(conn_id)

    async def play() -> Any:
        monkeypatch.setattr(QwenImageHook, "get_connection", staticmethod(fail))
        with pytest.raises(RuntimeError):
            await clients.shared_client("qwenimage_default")
        monkeypatch.setattr(QwenImageHook, "get_connection", staticmethod(hang))
        first, second = (asyncio.create_task(clients.shared_client("qwenimage_default")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        lets_go.set()
        return await second

    assert asyncio.run(play()).settings.api_key == service.api_key


def _submit_with(look_up: Any) -> str:
    """Submit without the slow look-up."""
    from airflow_provider_qwenimage.api.client import QwenImageClient
    from airflow_provider_qwenimage.connection import settings_of

    with QwenImageClient(settings_of(look_up("qwenimage_default"))) as client:
        return client.create_task(GenerationRequest(prompt="a kite")).generation_id


def _asked_about(service: Emulator) -> set[str]:
    return {entry["body"]["task_id"] for entry in service.requests() if entry["endpoint"] == "get"}


def _record_sessions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    session = sessions.aiohttp.ClientSession

    def make(*args: Any, **kwargs: Any) -> Any:
        made.append(session(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(sessions.aiohttp, "ClientSession", make)
    return made


FIRST_WAIT = """
import asyncio, sys, threading, time
from airflow_provider_qwenimage.batch.trigger import QwenImageBatchTrigger
from airflow_provider_qwenimage.triggers import QwenImageTaskTrigger

class Watch:
    threads = {}
    def find_spec(self, name, path=None, target=None):
        self.threads.setdefault(name, threading.current_thread() is threading.main_thread())

sys.meta_path.insert(0, Watch())
heavy = ("aiohttp", "airflow_provider_qwenimage.api.async_client", "airflow_provider_qwenimage.api.models")
assert not set(heavy) & set(sys.modules), "loaded before the first wait"

async def both():
    now = time.time()
    waits = QwenImageTaskTrigger("g", now, now), QwenImageBatchTrigger([["g", now, now, None]])
    await asyncio.gather(*(anext(wait.run()) for wait in waits))

asyncio.run(both())
print([name for name in heavy if Watch.threads[name]])
"""


def test_the_first_wait_loads_its_modules_in_a_thread(service: Emulator):
    """Loading them takes most of a second, for which all triggers of a triggerer would stand still."""
    done = subprocess.run([sys.executable, "-c", FIRST_WAIT], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stdout + done.stderr
