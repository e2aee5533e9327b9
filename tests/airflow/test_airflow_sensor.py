"""The sensor: when it polls, when it defers, what it hands over, how it is stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow_runs import AirflowHere, gets

from airflow_provider_qwenimage._compat import AirflowFailException, AirflowSensorTimeout
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.sensors import QwenImageTaskSensor
from airflow_provider_qwenimage.triggers import QwenImageTaskTrigger

LINK = "_link_QwenImageResultLink"


# The next poll finds the generation in processing, whatever it is.
NOT_YET = {"kind": "data", "set": {"status": 1}, "delete": ["result_urls"]}


class Ti:
    """What a sensor needs of a task instance when it runs without a DAG run: a place for its XComs."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value


@pytest.fixture
def context() -> dict[str, Any]:
    return {"ti": Ti()}


@pytest.fixture
def stuck(start: Callable[..., Emulator]) -> tuple[Emulator, str]:
    """A service, and the id of a generation that stays in processing until somebody ends it."""
    emulator = start()
    emulator.plan("create", "stuck")
    return emulator, submit()


def submit() -> str:
    return QwenImageHook().create_task(GenerationRequest(prompt="a kite")).generation_id


def deferred(sensor: QwenImageTaskSensor, context: Any) -> Any:
    """Return the deferral that a sensor's first part ends in."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - TaskDeferred has no place that is the same everywhere
        run(sensor, context)
    assert type(raised.value).__name__ == "TaskDeferred", repr(raised.value)
    return raised.value


def run(sensor: QwenImageTaskSensor, context: Any) -> Any:
    """Run execute() as the task runner does: without the guard against calls from elsewhere."""
    from inspect import unwrap

    return unwrap(type(sensor).execute)(sensor, context)


def event(generation_id: str, status: str = "success", **changes: Any) -> dict[str, Any]:
    now = time.time()
    fields = {"status": status, "generation_id": generation_id, "reason": "", "message": ""}
    return {**fields, "submitted_at": now, "deadline": now + 30, **changes}


def test_polls_once_before_it_defers(stuck: tuple[Emulator, str], context: Any):
    """A deferrable sensor asks the service before it gives its slot away, and not twice."""
    emulator, generation_id = stuck
    deferred(QwenImageTaskSensor(task_id="wait", generation_id=generation_id, deferrable=True), context)
    assert gets(emulator) == 1


def test_does_not_defer_for_what_is_done(service: Emulator, context: Any):
    """A generation that is completed already is returned without a deferral."""
    sensor = QwenImageTaskSensor(task_id="wait", generation_id=submit(), deferrable=True)
    found = run(sensor, context)
    found = getattr(found, "xcom_value", found)
    assert [url.startswith(service.url) for url in found] == [True]
    assert gets(service) == 1
    assert context["ti"].xcoms == {LINK: found[0]}


@pytest.mark.parametrize("how", [{"timeout": 5}, {"execution_timeout": timedelta(seconds=5)}, {"estimated_time": "3"}])
def test_finishes_a_short_wait_on_the_worker(how: dict[str, Any], service: Emulator, context: Any):
    """A wait that is expected to end within seconds is not deferred: schedulers mishandle deferrals that short."""
    service.plan("get", **NOT_YET, times=2)
    sensor = QwenImageTaskSensor(task_id="wait", generation_id=submit(), deferrable=True, poll_interval=0.2, **how)
    assert len(run(sensor, context)) == 1
    assert gets(service) == 3


def test_defers_when_a_short_wait_turns_out_long(stuck: tuple[Emulator, str], soon_deferred: None, context: Any):
    """An estimate that was too low costs a few polls on the worker, then the wait is deferred after all."""
    emulator, generation_id = stuck
    sensor = QwenImageTaskSensor(
        task_id="wait", generation_id=generation_id, deferrable=True, estimated_time=0.1, poll_interval=0.1
    )
    before = time.time()
    trigger = deferred(sensor, context).trigger
    assert gets(emulator) > 1
    assert before <= trigger.submitted_at <= time.time()


def test_what_the_trigger_is_told(stuck: tuple[Emulator, str], context: Any):
    """The trigger gets the id, the connection's id, the estimate, the interval and absolute times: no key, no URL."""
    emulator, generation_id = stuck
    sensor = QwenImageTaskSensor(
        task_id="wait",
        generation_id=generation_id,
        estimated_time="40",
        poll_interval=timedelta(seconds=7),
        timeout=timedelta(minutes=5),
        deferrable=True,
    )
    before = time.time()
    deferral = deferred(sensor, context)
    after = time.time()
    path, arguments = deferral.trigger.serialize()
    assert path == "airflow_provider_qwenimage.triggers.QwenImageTaskTrigger"
    assert arguments["generation_id"] == generation_id
    assert arguments["qwenimage_conn_id"] == "qwenimage_default"
    assert (arguments["estimated_time"], arguments["poll_interval"]) == (40, 7)
    assert before <= arguments["submitted_at"] <= after
    assert arguments["deadline"] - arguments["submitted_at"] == pytest.approx(300)
    assert before + 6 <= arguments["not_before"] <= after + 6
    assert deferral.method_name == "execute_complete"
    assert deferral.timeout > timedelta(seconds=300)
    assert emulator.api_key not in repr(arguments)
    assert "http" not in repr(arguments)


def test_execution_timeout_bounds_a_deferred_wait(stuck: tuple[Emulator, str], context: Any):
    """execution_timeout counts while a task is deferred too, although Airflow itself does not apply it there."""
    sensor = QwenImageTaskSensor(
        task_id="wait",
        generation_id=stuck[1],
        deferrable=True,
        timeout=900,
        execution_timeout=timedelta(seconds=60),
    )
    trigger = deferred(sensor, context).trigger
    assert trigger.deadline - trigger.submitted_at == pytest.approx(60)


def test_one_interval_has_two_names():
    """poke_interval and poll_interval are the same setting, so that both at once are refused."""
    named = [
        QwenImageTaskSensor(task_id="wait", generation_id="g", **{name: value})
        for name in ("poke_interval", "poll_interval")
        for value in (9, timedelta(seconds=9))
    ]
    assert {(sensor.poke_interval, sensor.poll_interval) for sensor in named} == {(9.0, 9.0)}
    unset = QwenImageTaskSensor(task_id="wait", generation_id="g")
    assert (unset.poke_interval, unset.poll_interval) == (5.0, None)
    with pytest.raises(ValueError, match="two names"):
        QwenImageTaskSensor(task_id="wait", generation_id="g", poll_interval=1, poke_interval=1)


def test_deferrable_by_default_where_airflow_is_told_so():
    """The default of deferrable is Airflow's [operators] default_deferrable, which is off."""
    assert QwenImageTaskSensor(task_id="wait", generation_id="g").deferrable is False


def test_resumes_into_the_result(service: Emulator, context: Any):
    """After the trigger, the worker asks again, returns the URLs and shows the link."""
    generation_id = submit()
    sensor = QwenImageTaskSensor(task_id="wait", generation_id=generation_id, deferrable=True)
    urls = sensor.execute_complete(context, event(generation_id))
    assert type(urls) is list
    assert context["ti"].xcoms == {LINK: urls[0]}


@pytest.mark.parametrize("status", ["failed", "timeout", "error"])
def test_a_resumed_wait_believes_the_service_not_the_event(status: str, service: Emulator, context: Any):
    """If the generation is completed by now, what the trigger thought of it does not matter."""
    generation_id = submit()
    sensor = QwenImageTaskSensor(task_id="wait", generation_id=generation_id, deferrable=True)
    assert sensor.execute_complete(context, event(generation_id, status, reason="X", message="it looked bad"))


def test_a_success_that_is_none_is_not_returned(stuck: tuple[Emulator, str], context: Any):
    """An event of success about a generation that is still in processing never passes for a result."""
    sensor = QwenImageTaskSensor(task_id="wait", generation_id=stuck[1], deferrable=True, poll_interval=0.2)
    told = event(stuck[1], deadline=time.time() + 0.5)
    with pytest.raises(errors.GenerationTimeoutError) as raised:
        sensor.execute_complete(context, told)
    assert isinstance(raised.value, AirflowSensorTimeout)


@pytest.mark.parametrize(
    "told",
    [
        None,
        {},
        [],
        "success",
        {"status": "success"},
        event("g", "done"),
        event("g", ""),
        event("g") | {"generation_id": None},
        event("g") | {"deadline": "soon"},
        event("g") | {"unknown": 1},
        event("another"),
    ],
)
def test_an_event_that_is_not_understood_fails(told: Any, service: Emulator, context: Any):
    """Malformed, unknown and foreign events fail the task, soft_fail or not, without asking the service."""
    sensor = QwenImageTaskSensor(task_id="wait", generation_id="g", deferrable=True, soft_fail=True)
    with pytest.raises(ValueError, match="event"):
        sensor.execute_complete(context, told)
    assert gets(service) == 0
    assert context["ti"].xcoms == {}


def test_on_kill_ends_a_wait_at_once(stuck: tuple[Emulator, str], context: Any):
    """A task that is killed while it waits on the worker stops, and does not poll on for its time-out."""
    emulator, generation_id = stuck
    sensor = QwenImageTaskSensor(task_id="wait", generation_id=generation_id, deferrable=True, poll_interval=600)
    ended: list[BaseException] = []

    def wait() -> None:
        try:
            sensor.execute_complete(context, event(generation_id, deadline=time.time() + 3000))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    while gets(emulator) == 0:
        assert thread.is_alive()
    sensor.on_kill()
    thread.join(30)
    assert not thread.is_alive()
    assert "the task was stopped" in str(ended[0])
    assert gets(emulator) == 1


def test_on_kill_before_anything_happened_is_harmless():
    """A task that is killed before it waits has nothing to stop."""
    QwenImageTaskSensor(task_id="wait", generation_id="g").on_kill()


@pytest.mark.parametrize("generation_id", [None, "", "None", 7])
@pytest.mark.parametrize("deferrable", [True, False])
def test_an_id_that_is_none_is_refused(generation_id: Any, deferrable: bool, service: Emulator, context: Any):
    """An upstream task that returned no id is named as the cause, and nothing is asked."""
    sensor = QwenImageTaskSensor(task_id="wait", generation_id=generation_id, deferrable=deferrable)
    with pytest.raises(errors.InvalidRequestError, match="generation_id must be a text") as raised:
        run(sensor, context)
    assert isinstance(raised.value, AirflowFailException)
    assert service.requests() == []


@pytest.mark.parametrize("estimate", ["", "None", None, 0, "0"])
def test_an_estimate_may_be_missing(estimate: Any, stuck: tuple[Emulator, str], context: Any):
    """The estimate is a help, not a must."""
    sensor = QwenImageTaskSensor(task_id="wait", generation_id=stuck[1], estimated_time=estimate, deferrable=True)
    assert isinstance(deferred(sensor, context).trigger, QwenImageTaskTrigger)


def test_the_link_is_there_after_a_real_run(airflow: AirflowHere, service: Emulator, soon_deferred: None):
    """A run leaves the link to the first image where the UI of each Airflow looks for it."""
    from airflow_provider_qwenimage._compat import xcom_value
    from airflow_provider_qwenimage.links import QwenImageResultLink

    for mode in ("poke", "deferrable"):
        service.plan("get", **NOT_YET)
        found = airflow.run("waiting_30s", only=f"{mode}_plain", generation_id=submit())
        ti = found.tis[f"{mode}_plain", -1]
        assert found.xcom(f"{mode}_plain", LINK) == found.xcom(f"{mode}_plain")[0]
        sensor = airflow.bag().dags["waiting_30s"].get_task(f"{mode}_plain")
        (link,) = [link for link in sensor.operator_extra_links if isinstance(link, QwenImageResultLink)]
        assert link.xcom_key == LINK
        if airflow_major() == 2:  # the webserver asks the link itself
            assert link.get_link(sensor, ti_key=ti.key) == found.xcom(f"{mode}_plain", LINK)
            assert xcom_value(LINK, ti.key) == found.xcom(f"{mode}_plain", LINK)


def test_the_link_is_empty_while_there_is_none(
    airflow: AirflowHere,
    stuck: tuple[Emulator, str],
    soon_deferred: None,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    """A deferral and a time-out without a result log nothing about the link, and looking it up gives an empty text."""
    from airflow_provider_qwenimage.links import QwenImageResultLink

    run = airflow.run("waiting_1s", only="deferrable_plain", generation_id=stuck[1])
    captured = capfd.readouterr()
    output = captured.out + captured.err + caplog.text
    assert run.state_of("deferrable_plain") == "failed"
    assert "running trigger in line" in caplog.text
    assert "XCom not found" not in output
    assert "Failed to push an xcom" not in output
    sensor = airflow.bag().dags["waiting_1s"].get_task("deferrable_plain")
    for key in (run.tis["deferrable_plain", -1].key, None):
        assert QwenImageResultLink().get_link(sensor, ti_key=key) == ""


def airflow_major() -> int:
    from airflow import __version__

    return int(__version__.split(".")[0])
