"""Waits that break off: a trigger that crashes or that Airflow ends, a task that is killed, a deadline that is over."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow_runs import bought, gets
from dags_made_here import Bench
from reliability_tries import HAS_STORE, Tries, generating, without_the_store_of_airflow

from airflow_provider_qwenimage._compat import AirflowSensorTimeout
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from airflow_provider_qwenimage.triggers import QwenImageTaskTrigger

pytestmark = pytest.mark.usefixtures("quick")
WHY = pytest.mark.parametrize("why", ["crash", "timeout"])


@pytest.fixture(params=["as Airflow is", "XComs only"])
def memory_of_tries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a resumed task can look into: whatever this Airflow has, or nothing but its XComs."""
    if request.param == "XComs only":
        without_the_store_of_airflow(monkeypatch)


def the_id(emulator: Emulator) -> str:
    (generation_id,) = emulator.state._generations._by_id
    return str(generation_id)


def sensing(bench: Bench, generation_id: str, *, retries: int = 1, **arguments: Any) -> Tries:
    arguments = {"task_id": "gen", "generation_id": generation_id, "deferrable": True, **arguments}
    return Tries(bench, lambda: QwenImageTaskSensor(**arguments), retries=retries)


def finish_at_the_second_poll(emulator: Emulator) -> None:
    record, polls = emulator.state.record, gets(emulator)

    def and_finish(name: str, entry: Any) -> None:
        record(name, entry)
        if name == "get" and gets(emulator) == polls + 2:
            emulator.state.finish(the_id(emulator), "completed")

    emulator.state.record = and_finish  # type: ignore[method-assign]


def submit() -> str:
    return QwenImageHook().create_task(GenerationRequest(prompt="a kite")).generation_id


# Rescue


@WHY
def test_a_completed_generation_is_rescued(bench: Bench, start: Any, why: str, memory_of_tries: None):
    """A task whose trigger is lost takes the result from the service instead of failing, in the same try."""
    emulator = start(duration=3600)
    tries = generating(bench, deferrable=True)
    assert tries.next(triggerer=False) == "deferred"
    emulator.state.finish(the_id(emulator), "completed")
    assert tries.lose_the_trigger(why) == "success"
    assert the_id(emulator) in tries.xcom()[0]
    assert bought(emulator) == 1


@WHY
def test_a_running_generation_is_rescued(bench: Bench, start: Any, why: str, memory_of_tries: None):
    """What is still processing is waited for on the worker."""
    emulator = start(duration=3600)
    tries = generating(bench, deferrable=True)
    assert tries.next(triggerer=False) == "deferred"
    finish_at_the_second_poll(emulator)
    assert tries.lose_the_trigger(why) == "success"
    assert bought(emulator) == 1


@WHY
def test_a_failed_generation_is_not_rescued(bench: Bench, start: Any, why: str, memory_of_tries: None):
    """A lost trigger does not hide what the service says: the generation has failed, and the next try buys anew."""
    emulator = start(duration=3600)
    tries = generating(bench, deferrable=True)
    assert tries.next(triggerer=False) == "deferred"
    emulator.state.finish(the_id(emulator), "failed")
    assert tries.lose_the_trigger(why) == "up_for_retry"
    assert isinstance(tries.error, errors.GenerationFailedError)


@WHY
def test_a_rescue_gets_no_new_time(bench: Bench, start: Any, why: str, memory_of_tries: None):
    """The deadline of the wait holds for its rescue: one question, then the time-out error that names the id."""
    emulator = start(duration=3600)
    tries = generating(bench, deferrable=True, timeout=0.5)
    tries.change(timeout=60)
    assert tries.next(triggerer=False) == "deferred"
    tries.change(timeout=0.01)
    assert tries.lose_the_trigger(why) == "up_for_retry"
    assert isinstance(tries.error, errors.GenerationTimeoutError)
    assert the_id(emulator) in str(tries.error)
    assert gets(emulator) == 1


def test_a_rescue_saves_with_the_facts_of_the_request(bench: Bench, start: Any, tmp_path: Any, memory_of_tries: None):
    """A rescued image is saved and recorded as any other, with its prompt."""
    emulator = start(duration=3600)
    tries = generating(bench, deferrable=True, output_path=str(tmp_path))
    assert tries.next(triggerer=False) == "deferred"
    emulator.state.finish(the_id(emulator), "completed")
    assert tries.lose_the_trigger("crash") == "success"
    (record,) = tries.xcom("images")
    assert (record["prompt"], record["path"]) == ("a kite", tries.xcom()[0])
    assert record["bytes"] > 0


@pytest.mark.skipif(not HAS_STORE, reason="without XComs and without a store there is nothing to rescue")
def test_a_rescue_without_xcoms_knows_what_was_asked_for(bench: Bench, start: Any, tmp_path: Any):
    """Fewer images than asked for are a failure there too."""
    emulator = start(duration=3600)
    emulator.plan("create", "missing_urls", urls="fewer")
    tries = generating(bench, deferrable=True, output_path=str(tmp_path), num_outputs=2, do_xcom_push=False)
    assert tries.next(triggerer=False) == "deferred"
    emulator.state.finish(the_id(emulator), "completed")
    assert tries.lose_the_trigger("crash") == "failed"
    assert isinstance(tries.error, errors.MissingImagesError)


@WHY
def test_a_sensor_is_rescued(bench: Bench, start: Any, why: str):
    """A sensor whose trigger is lost asks once more, and returns the URLs if they are there."""
    emulator = start(duration=3600)
    tries = sensing(bench, submit())
    assert tries.next(triggerer=False) == "deferred"
    emulator.state.finish(the_id(emulator), "completed")
    assert tries.lose_the_trigger(why) == "success"
    assert the_id(emulator) in tries.xcom()[0]


def test_a_sensor_waits_on_without_its_trigger(bench: Bench, start: Any):
    """What is still processing is waited for on the worker, in the same try: sensors have no retries by default."""
    emulator = start(duration=3600)
    tries = sensing(bench, submit(), retries=0)
    assert tries.next(triggerer=False) == "deferred"
    finish_at_the_second_poll(emulator)
    assert tries.lose_the_trigger("crash") == "success"
    assert the_id(emulator) in tries.xcom()[0]


def test_a_sensor_gets_no_new_time_without_its_trigger(bench: Bench, start: Any):
    """The wait on the worker ends when the sensor's time does."""
    start(duration=3600)
    tries = sensing(bench, submit())
    assert tries.next(triggerer=False) == "deferred"
    tries.change(timeout=0.3)
    tries.lose_the_trigger("crash")
    assert isinstance(tries.error, AirflowSensorTimeout)


def test_a_sensor_that_airflow_times_out_says_so(bench: Bench, start: Any):
    """A deferral that Airflow ends is a sensor's time-out where Airflow tells the two apart, from 3.0."""
    from airflow_provider_qwenimage._compat import AIRFLOW_3

    start(duration=3600)
    tries = sensing(bench, submit())
    assert tries.next(triggerer=False) == "deferred"
    tries.lose_the_trigger("timeout")
    assert isinstance(tries.error, AirflowSensorTimeout) is AIRFLOW_3


def test_a_soft_failing_sensor_is_skipped_when_its_generation_has_failed(bench: Bench, start: Any):
    """Rescue keeps to soft_fail."""
    emulator = start(duration=3600)
    tries = sensing(bench, submit(), soft_fail=True)
    assert tries.next(triggerer=False) == "deferred"
    emulator.state.finish(the_id(emulator), "failed")
    assert tries.lose_the_trigger("crash") == "skipped"


# An event that can't be trusted


@pytest.mark.parametrize(
    "event", [None, {}, "success", {"status": "success"}, {"status": "done", "generation_id": "g"}]
)
def test_an_unknown_event_is_no_success(bench: Bench, start: Any, event: Any, tmp_path: Any):
    """What the triggerer sends is checked: an event that is not understood fails the try, and buys nothing."""
    emulator = start(duration=3600)
    tries = generating(bench, deferrable=True, output_path=str(tmp_path))
    assert tries.next(triggerer=False) == "deferred"
    assert tries.resume("execute_complete", {"event": event}) == "up_for_retry"
    assert "not understood" in str(tries.error)
    emulator.state.finish(the_id(emulator), "completed")
    assert tries.next() == "success"
    assert bought(emulator) == 1


# Kill


class Ti:
    """What an operator needs of a task instance when it runs without a DAG run."""

    dag_id, run_id, task_id, map_index, max_tries = "d", "r", "gen", -1, 0

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@pytest.mark.parametrize("kind", ["operator", "sensor"])
def test_on_kill_ends_a_wait_at_once(
    start: Callable[..., Emulator], kind: str, tmp_path: Any, caplog: pytest.LogCaptureFixture, capfd: Any
):
    """A killed task stops waiting, says that the generation goes on and may be charged, and keeps its record."""
    from inspect import unwrap

    emulator = start(duration=3600)
    if kind == "operator":
        task: Any = QwenImageGenerateOperator(
            task_id="gen", prompt="a kite", output_path=str(tmp_path), poll_interval=600
        )
        run: Callable[[Any], Any] = lambda context: unwrap(type(task).execute)(task, context)  # noqa: E731
        asked = 1
    else:
        task = QwenImageTaskSensor(task_id="gen", generation_id=submit(), deferrable=True, poll_interval=600)
        told = {"status": "success", "generation_id": task.generation_id, "reason": "", "message": ""}
        told |= {"submitted_at": time.time(), "deadline": time.time() + 3600}
        run = lambda context: task.execute_complete(context, told)  # noqa: E731
        asked = 1
    ended: list[BaseException] = []

    def work() -> None:
        try:
            run({"ti": Ti()})
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while gets(emulator) < asked:
        assert thread.is_alive()
    task.on_kill()
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(ended[0], errors.GenerationTimeoutError)
    assert "goes on at the service and may be charged" in str(ended[0])
    out, err = capfd.readouterr()
    said = caplog.text + out + err
    assert "there is no cancel" in said
    assert the_id(emulator) in said
    if kind == "operator":
        assert len(list((tmp_path / ".qwenimage").iterdir())) == 1


def test_on_kill_of_a_trigger_says_what_becomes_of_the_generation(caplog: pytest.LogCaptureFixture, capfd: Any):
    """A user who ends a deferred task reads in its log that the generation goes on."""
    trigger = QwenImageTaskTrigger("d425ab4d", time.time(), time.time() + 60)
    asyncio.run(trigger.on_kill())
    out, err = capfd.readouterr()
    assert "generation d425ab4d goes on at the service and may be charged" in caplog.text + out + err


def test_a_retry_after_a_kill_goes_on(bench: Bench, start: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    """A wait that was stopped by on_kill has bought, and the next try takes what it bought."""
    emulator = start(duration=3600)
    tries = generating(bench, output_path=str(tmp_path), poll_interval=600)
    record = emulator.state.record
    from airflow_provider_qwenimage import waits

    made: list[threading.Event] = []
    monkeypatch.setattr(waits, "Event", lambda: made.append(threading.Event()) or made[-1])
    emulator.state.record = lambda name, entry: (record(name, entry), name == "get" and made[-1].set())[0]
    assert tries.next() == "up_for_retry"
    assert "the task was stopped" in str(tries.error)
    emulator.state.record = record
    emulator.state.finish(the_id(emulator), "completed")
    assert tries.next() == "success"
    assert bought(emulator) == 1


# Deadlines


@pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
def test_processing_for_ever_ends_in_an_error_that_names_the_generation(bench: Bench, start: Any, deferrable: bool):
    """A service that never finishes ends the wait at its deadline, with the id to go on with."""
    emulator = start()
    emulator.plan("create", "stuck")
    tries = generating(bench, deferrable=deferrable, timeout=1)
    began = time.monotonic()
    assert tries.next() == "up_for_retry"
    assert time.monotonic() - began < 20
    assert isinstance(tries.error, errors.GenerationTimeoutError)
    assert tries.error.generation_id == the_id(emulator)
    assert the_id(emulator) in str(tries.error)


def test_execution_timeout_holds_while_deferred(bench: Bench, start: Any):
    """Airflow 3 does not apply execution_timeout to a deferred task; the trigger does."""
    emulator = start(duration=3600)
    tries = generating(bench, deferrable=True, timeout=3600, execution_timeout=timedelta(seconds=1))
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.GenerationTimeoutError)
    assert bought(emulator) == 1


def test_a_takeover_keeps_the_deadline(start: Any):
    """A trigger that is started again elsewhere, from what Airflow has stored of it, ends at the same moment."""
    emulator = start(duration=3600)
    generation_id, now = submit(), time.time()
    _, arguments = QwenImageTaskTrigger(generation_id, now, now + 2, poll_interval=0.1).serialize()
    first: dict[str, Any] = {}
    polled_twice = threading.Event()
    record = emulator.state.record

    def count(name: str, entry: Any) -> None:
        record(name, entry)
        if gets(emulator) == 2:
            polled_twice.set()

    emulator.state.record = count

    async def run_and_die() -> None:
        wait = asyncio.ensure_future(anext(QwenImageTaskTrigger(**arguments).run()))
        await asyncio.to_thread(polled_twice.wait, 30)
        wait.cancel()
        await asyncio.gather(wait, return_exceptions=True)

    async def run_again() -> None:
        first["event"] = (await anext(QwenImageTaskTrigger(**arguments).run())).payload

    asyncio.run(run_and_die())
    asyncio.run(run_again())
    assert time.time() >= now + 2 == first["event"]["deadline"]
    assert (first["event"]["status"], first["event"]["reason"]) == ("timeout", "GenerationTimeoutError")
    assert generation_id in first["event"]["message"]


def test_two_triggers_at_once_do_no_harm(start: Any):
    """While triggerers change over, two may run for one generation: they only read, and both tell the same."""
    emulator = start(duration=0.3)
    generation_id, now = submit(), time.time()

    async def both() -> list[Any]:
        triggers = [QwenImageTaskTrigger(generation_id, now, now + 30, poll_interval=0.1) for _ in range(2)]
        return [event.payload for event in await asyncio.gather(*(anext(trigger.run()) for trigger in triggers))]

    one, other = asyncio.run(both())
    assert one == other
    assert one["status"] == "success"
    assert bought(emulator) == 1
