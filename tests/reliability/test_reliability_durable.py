"""What a retry does with what an earlier try has bought, in real Airflow runs, wherever tries leave word."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import bought, creates, gets, whole_image
from dags_made_here import Bench
from reliability_tries import HAS_STORE, Tries, generating, without_the_store_of_airflow

from airflow_provider_qwenimage import durable
from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException, object_storage_path
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator

pytestmark = pytest.mark.usefixtures("quick")
ALWAYS = {"times": 1000}
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])


def saved(tries: Tries) -> list[Any]:
    """The saved images of the last try, each decoded to its last pixel."""
    paths = tries.xcom()
    assert paths
    for path in paths:
        assert object_storage_path(path).open("rb").read(3) == b"\xff\xd8\xff"
        if "://" not in path or path.startswith("file://"):
            whole_image(path)
    return paths


class Unhappy:
    """A store that fails to save from some time on."""

    def __init__(self, store: durable.Store, *, good_saves: int) -> None:
        self._store = store
        self._left = good_saves

    def load(self) -> durable.Record | None:
        return self._store.load()

    def save(self, record: durable.Record) -> None:
        self._left -= 1
        if self._left < 0:
            raise OSError(28, "No space left on device")
        self._store.save(record)

    def forget(self) -> None:
        self._store.forget()


def spoil_the_store(monkeypatch: pytest.MonkeyPatch, good_saves: int) -> None:
    known = durable.store_for
    monkeypatch.setattr(durable, "store_for", lambda *place: Unhappy(known(*place), good_saves=good_saves))


# What is written down, and when


@MODES
def test_the_intent_is_noted_before_the_submit_and_the_id_right_after(
    bench: Bench, start: Callable[..., Emulator], output_path: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch
):
    """The record stands before the request leaves, and holds the id before any XCom, any poll and any deferral."""
    emulator = start()
    told: list[str] = []
    for kind in (durable.TaskStateStore, durable.FileStore):
        save = kind.save
        monkeypatch.setattr(
            kind,
            "save",
            lambda self, record, save=save: (
                save(self, record),
                told.append("intent stored" if record.generation_id is None else "id stored"),
            )[0],
        )
    record = emulator.state.record
    monkeypatch.setattr(emulator.state, "record", lambda name, entry: (told.append(name), record(name, entry))[1])
    push = QwenImageCreateTaskOperator.push
    monkeypatch.setattr(
        "airflow_provider_qwenimage.operators.submitting.SubmittingOperator.push",
        lambda self, context, **values: (told.append("xcom"), push(self, context, **values))[1],
    )
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "success"
    assert told[:4] == ["intent stored", "create", "id stored", "xcom"]
    assert told.index("get") > 3


def test_the_record_holds_no_prompt_and_no_key(bench: Bench, service: Emulator, output_path: str, monkeypatch: Any):
    """What is written down is a digest, a number, an id and times: nothing that anybody should not read."""
    kept: list[durable.Record] = []
    for kind in (durable.TaskStateStore, durable.FileStore):
        save = kind.save
        monkeypatch.setattr(kind, "save", lambda self, record, save=save: (kept.append(record), save(self, record))[1])
    tries = generating(bench, output_path=output_path, prompt="a secret kite")
    assert tries.next() == "success"
    text = json.dumps([durable.asdict(record) for record in kept])
    assert "kite" not in text
    assert service.api_key not in text


# The next try


@MODES
def test_a_retry_waits_on_for_what_is_running(bench: Bench, start: Any, output_path: str, deferrable: bool):
    """A try that died while the generation was processing is followed by one that waits for the same generation."""
    emulator = start(duration=3600)
    emulator.plan("get", "refuse", message="Invalid API KEY", times=1000)
    tries = generating(bench, output_path=output_path, deferrable=deferrable, timeout=60)
    assert tries.next() == "failed"
    emulator.clear_faults()
    tries.clear_keeping_tries()
    (generation_id,) = emulator.state._generations._by_id
    record, polls = emulator.state.record, gets(emulator)

    def finish_at_the_second_poll(name: str, entry: Any) -> None:
        record(name, entry)
        if name == "get" and gets(emulator) == polls + 2:
            emulator.state.finish(generation_id, "completed")

    emulator.state.record = finish_at_the_second_poll
    assert tries.next() == "success"
    assert bought(emulator) == 1
    assert generation_id in saved(tries)[0]


@MODES
def test_a_retry_saves_what_is_completed(bench: Bench, service: Emulator, output_path: str, deferrable: bool):
    """Where only the download failed, the retry downloads again and buys nothing."""
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path, deferrable=deferrable, num_outputs=1)
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.ImageDownloadError)
    assert tries.next() == "success"
    assert (bought(service), creates(service)) == (1, 1)
    assert len(saved(tries)) == 1


@MODES
def test_a_retry_after_a_failed_generation_buys_a_new_one(
    bench: Bench, service: Emulator, output_path: str, deferrable: bool
):
    """A failed generation is over, so that the next try asks for another."""
    service.plan("create", "fail")
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.GenerationFailedError)
    assert tries.next() == "success"
    assert bought(service) == 2


@pytest.mark.parametrize("became", ["unknown", "expired", "without images"])
def test_a_retry_buys_anew_where_the_old_one_is_good_for_nothing(
    bench: Bench,
    service: Emulator,
    output_path: str,
    became: str,
    caplog: pytest.LogCaptureFixture,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
):
    """A generation that the service has forgotten, or that has no images, is replaced, and the log says so."""
    old_enough = "airflow_provider_qwenimage.api.waiting.may_be_unknown"
    monkeypatch.setattr(old_enough, lambda *_: False)
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "up_for_retry"
    faults = {
        "unknown": {"kind": "refuse", "message": "Task not found"},
        "expired": {"kind": "refuse", "message": "The task has expired"},
        "without images": {"kind": "data", "set": {"result_urls": []}},
    }
    service.plan("get", **faults[became])
    assert tries.next() == "success"
    assert bought(service) == 2
    out, err = capfd.readouterr()
    assert "submitting a new one" in caplog.text + out + err


@MODES
def test_what_is_not_known_yet_is_waited_for(bench: Bench, service: Emulator, output_path: str, deferrable: bool):
    """A generation that the service does not know right after it was bought is neither given up nor bought again."""
    service.plan("get", "refuse", message="Task not found", times=3)
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "success"
    assert bought(service) == 1


@MODES
def test_a_retry_does_not_forget_what_is_not_known_yet(
    bench: Bench, service: Emulator, output_path: str, deferrable: bool
):
    """The same in the next try: one that starts within a minute of the purchase does not buy again."""
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "up_for_retry"
    service.plan("get", "refuse", message="Task not found", times=3)
    assert tries.next() == "success"
    assert bought(service) == 1


@pytest.mark.parametrize("fault", [{"kind": "http_error", "status": 500}, {"kind": "refuse", "message": "Server busy"}])
@MODES
def test_a_service_in_trouble_does_not_make_a_retry_forget(
    bench: Bench, service: Emulator, output_path: str, fault: dict[str, Any], deferrable: bool
):
    """Whatever a retry is answered when it asks for the old generation, it neither buys again nor gives up."""
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "up_for_retry"
    service.plan("get", **fault, times=6)
    assert tries.next() == "success"
    assert bought(service) == 1


@MODES
def test_a_404_of_a_gateway_is_no_word_of_the_service(
    bench: Bench, service: Emulator, output_path: str, deferrable: bool, monkeypatch: pytest.MonkeyPatch
):
    """A load balancer that has lost its backends says 404 about everything: nothing is bought again for that."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.NOT_FOUND_GRACE", 0.0)
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "up_for_retry"
    service.plan("get", "http_error", status=404, body="text", message="default backend - 404", times=3)
    assert tries.next() == "success"
    assert bought(service) == 1


@MODES
def test_a_key_that_is_refused_in_a_wait_says_what_is_bought(
    bench: Bench, service: Emulator, output_path: str, deferrable: bool
):
    """Whoever reads that nothing was spent clears the task, and pays twice."""
    service.plan("get", "refuse", message="Invalid API KEY", **ALWAYS)
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    for _ in range(2):  # a next try asks for the same generation
        assert tries.next() == "failed"
        assert isinstance(tries.error, errors.AuthenticationError)
        (generation_id,) = service.state._generations._by_id
        assert f"Generation {generation_id} is bought already" in str(tries.error)
        assert "no credits were spent" not in str(tries.error)
        tries.clear_keeping_tries()
    service.clear_faults()
    assert tries.next() == "success"
    assert bought(service) == 1


@MODES
def test_images_that_are_gone_are_not_bought_again(bench: Bench, service: Emulator, output_path: str, deferrable: bool):
    """Where the service still knows the generation but its images are gone, only a Clear buys, as the error says."""
    service.plan("image", "http_error", status=403, **ALWAYS)
    tries = generating(bench, output_path=output_path, deferrable=deferrable, retries=2)
    for state in ("up_for_retry", "up_for_retry", "failed"):
        assert tries.next() == state
        assert isinstance(tries.error, errors.ImageGoneError)
        assert "clear the task that generates" in str(tries.error)
    assert bought(service) == 1
    service.clear_faults()
    tries.clear()
    assert tries.next() == "success"
    assert bought(service) == 2


def test_another_request_is_another_purchase(bench: Bench, service: Emulator, output_path: str):
    """Where the request was edited between two tries, the new one is bought: the old image is not what is wanted."""
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "up_for_retry"
    tries.change(prompt="another kite")
    assert tries.next() == "success"
    assert bought(service) == 2


def test_another_account_is_another_purchase(bench: Bench, service: Emulator, output_path: str, monkeypatch: Any):
    """A generation that was bought with one connection is not asked for with another."""
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", os.environ["AIRFLOW_CONN_QWENIMAGE_DEFAULT"])
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "up_for_retry"
    tries.task.__dict__.pop("hook", None)
    tries.change(qwenimage_conn_id="other")
    assert tries.next() == "success"
    assert bought(service) == 2


@MODES
def test_a_manual_clear_makes_a_new_image(bench: Bench, service: Emulator, output_path: str, deferrable: bool):
    """Who clears a task wants another image: the old one is neither asked for nor saved again."""
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "success"
    first = saved(tries)
    tries.clear()
    assert tries.next() == "success"
    assert bought(service) == 2
    assert saved(tries) != first
    tries.clear()
    assert tries.next() == "success"
    assert bought(service) == 3


def test_a_retry_after_a_clear_goes_on_with_the_new_one(bench: Bench, service: Emulator, output_path: str):
    """The promise holds after a Clear as well: its own retries buy nothing more."""
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "success"
    tries.clear()
    service.plan("image", "http_error", status=500, times=4)
    assert tries.next() == "up_for_retry"
    assert tries.next() == "success"
    assert bought(service) == 2


# Submissions that end badly


@MODES
def test_a_lost_answer_ends_the_task(bench: Bench, service: Emulator, output_path: str, deferrable: bool):
    """A create whose answer was lost fails for good, whatever retries are left, and says what it may have cost."""
    service.plan("create", "close_after")
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "failed"
    assert isinstance(tries.error, errors.UnknownOutcomeError)
    assert isinstance(tries.error, AirflowFailException)
    assert "may have been started and charged" in str(tries.error)
    assert "clear the task to generate anew" in str(tries.error)
    assert creates(service) == 1


def test_a_clear_goes_on_after_a_lost_answer(bench: Bench, service: Emulator, output_path: str):
    """The way that the error names works: clear the task, and it generates anew."""
    service.plan("create", "close_after")
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "failed"
    tries.clear()
    assert tries.next() == "success"
    assert bought(service) == 2


def test_a_lost_answer_is_bought_again_if_told_to(bench: Bench, service: Emulator, output_path: str):
    """With on_unknown_submit="resubmit" it is Airflow's retry that submits again, knowing that it may pay twice."""
    service.plan("create", "close_after")
    tries = generating(bench, output_path=output_path, on_unknown_submit="resubmit")
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.UnknownOutcomeError)
    assert not isinstance(tries.error, AirflowFailException)
    assert tries.next() == "success"
    assert (bought(service), creates(service)) == (2, 2)


@pytest.mark.parametrize(
    ("fault", "error", "state"),
    [
        ({"kind": "refuse", "message": "Credits not enough"}, errors.InsufficientCreditsError, "failed"),
        ({"kind": "refuse", "message": "no such style"}, errors.RejectedError, "failed"),
        ({"kind": "http_error", "status": 429, "times": 4}, errors.OverloadedError, "up_for_retry"),
        ({"kind": "http_error", "status": 503, "times": 4}, errors.OverloadedError, "up_for_retry"),
    ],
    ids=["no credits", "rejected", "429", "503"],
)
def test_a_refused_submission_leaves_no_intent(
    bench: Bench, service: Emulator, output_path: str, fault: dict[str, Any], error: type, state: str
):
    """Where nothing was bought, the next try is free to buy: it does not fail for an unknown outcome."""
    service.plan("create", **fault)
    tries = generating(bench, output_path=output_path)
    assert tries.next() == state
    assert isinstance(tries.error, error)
    assert bought(service) == 0
    if state == "failed":
        tries.clear_keeping_tries()
    assert tries.next() == "success"
    assert bought(service) == 1
    assert len(saved(tries)) == 1


def test_a_store_that_can_not_forget_does_not_hide_what_the_service_said(
    bench: Bench, service: Emulator, output_path: str, monkeypatch: pytest.MonkeyPatch
):
    """The task fails for the refusal. The next try finds an intent that it can't judge, and does not buy."""
    spoil_the_store(monkeypatch, good_saves=9)
    monkeypatch.setattr(Unhappy, "forget", lambda self: 1 / 0)
    service.plan("create", "http_error", status=503, times=4)
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.OverloadedError)
    assert tries.next() == "failed"
    assert isinstance(tries.error, errors.UnknownOutcomeError)
    assert bought(service) == 0


def test_a_submission_that_was_never_sent_leaves_no_intent(
    bench: Bench, start: Any, output_path: str, monkeypatch: Any
):
    """A service that is not there costs a try and nothing else."""
    emulator = start()
    good = os.environ["AIRFLOW_CONN_QWENIMAGE_DEFAULT"]
    monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", "qwenimage://http://:key@127.0.0.1:9")
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.NotSentError)
    monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", good)
    tries.task.__dict__.pop("hook", None)
    assert tries.next() == "success"
    assert bought(emulator) == 1


def test_a_missing_connection_buys_nothing_and_forgets_nothing(
    bench: Bench, service: Emulator, output_path: str, monkeypatch: pytest.MonkeyPatch
):
    """It may come back (a secrets backend fails now and then), so tries are retried, before and after the purchase."""
    good = os.environ["AIRFLOW_CONN_QWENIMAGE_DEFAULT"]
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path, retries=5)

    def next_try(connection: str | None) -> tuple[str, str, int]:
        monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", good)
        if connection is None:
            monkeypatch.delenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT")
        tries.task.__dict__.pop("hook", None)
        return tries.next(), "".join(type(error).__name__ for error in tries.errors), bought(service)

    assert next_try(None) == ("up_for_retry", "AirflowNotFoundException", 0)
    assert next_try(good) == ("up_for_retry", "ImageDownloadError", 1)
    assert next_try(None) == ("up_for_retry", "AirflowNotFoundException", 1)
    assert next_try(good) == ("success", "", 1)


# The store itself in trouble


def test_nothing_is_bought_that_can_not_be_noted(bench: Bench, service: Emulator, output_path: str, monkeypatch: Any):
    """Where the intent can't be stored, no create request leaves."""
    spoil_the_store(monkeypatch, good_saves=0)
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, OSError)
    assert creates(service) == 0


@MODES
def test_what_is_bought_is_delivered_although_it_could_not_be_noted(
    bench: Bench, service: Emulator, output_path: str, deferrable: bool, monkeypatch: Any
):
    """Where only the id can't be stored, the image is still waited for and saved: failing would lose it."""
    spoil_the_store(monkeypatch, good_saves=1)
    tries = generating(bench, output_path=output_path, deferrable=deferrable)
    assert tries.next() == "success"
    assert len(saved(tries)) == 1
    assert bought(service) == 1


def test_a_record_that_can_not_be_read_buys_nothing(
    bench: Bench, service: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A damaged record may tell of something paid for: the task names the file instead of buying."""
    without_the_store_of_airflow(monkeypatch)
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=str(tmp_path))
    assert tries.next() == "up_for_retry"
    (record,) = (tmp_path / durable.FOLDER).iterdir()
    record.write_bytes(record.read_bytes()[:-20])
    assert tries.next() == "up_for_retry"
    assert str(record) in str(tries.error)
    assert bought(service) == 1
    record.unlink()  # as the error says
    assert tries.next() == "success"
    assert bought(service) == 2


def test_every_mapped_task_has_a_record_of_its_own(bench: Bench, service: Emulator, output_path: str):
    """Ten copies of a task, one of which is retried, buy ten generations."""
    from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

    service.plan("image", "http_error", status=404, times=1)
    run = bench.run_one(
        lambda: QwenImageGenerateOperator.partial(task_id="gen", output_path=output_path).expand(
            prompt=["a kite"] * 9 + ["another"]
        ),
        retries=2,
    )
    assert run.state == "success"
    assert bought(service) == 10
    paths = {run.xcom("gen", map_index=index)[0] for index in range(10)}
    assert len(paths) == 10


def test_without_any_store_a_retry_buys_again(bench: Bench, service: Emulator, monkeypatch: pytest.MonkeyPatch):
    """Before Airflow 3.3 and without an output_path there is nowhere to leave word: the docs say so, and this is it."""
    without_the_store_of_airflow(monkeypatch)
    service.plan("get", "refuse", message="Invalid API KEY")
    tries = generating(bench)
    assert tries.next() == "failed"
    tries.clear_keeping_tries()
    assert tries.next() == "success"
    assert bought(service) == 2


# The create operator


@pytest.mark.skipif(not HAS_STORE, reason="only Airflow 3.3 and later keep state for a task without an output_path")
def test_a_create_task_returns_the_same_id_again(bench: Bench, service: Emulator, monkeypatch: Any):
    """A create task that dies after the purchase hands over the same generation in its next try."""
    push = QwenImageCreateTaskOperator.push

    def die(self: Any, context: Any, **values: Any) -> None:
        raise AirflowException("the XCom could not be pushed")

    monkeypatch.setattr(QwenImageCreateTaskOperator, "push", die)
    tries = Tries(bench, lambda: QwenImageCreateTaskOperator(task_id="gen", prompt="a kite"))
    assert tries.next() == "up_for_retry"
    monkeypatch.setattr(QwenImageCreateTaskOperator, "push", push)
    assert tries.next() == "success"
    assert list(service.state._generations._by_id) == [tries.xcom()]
    tries.clear()
    assert tries.next() == "success"
    assert bought(service) == 2


# Deadlines over tries


@MODES
def test_a_retry_gets_no_new_time(bench: Bench, start: Any, output_path: str, deferrable: bool):
    """``timeout`` counts from the submission: the retry of a wait that took too long asks once and gives up again."""
    emulator = start(duration=3600)
    tries = generating(bench, output_path=output_path, deferrable=deferrable, timeout=0.4)
    for _ in range(2):
        assert tries.next() == "up_for_retry"
        assert isinstance(tries.error, errors.GenerationTimeoutError)
        (generation_id,) = emulator.state._generations._by_id
        assert generation_id in str(tries.error)
    polls = gets(emulator)
    emulator.state.finish(generation_id, "completed")
    assert tries.next() == "success"
    assert gets(emulator) <= polls + 2
    assert bought(emulator) == 1


def test_a_retry_gets_a_new_execution_timeout(bench: Bench, start: Any, output_path: str):
    """``execution_timeout`` is Airflow's limit for one try, so a retry may wait as long again, within ``timeout``."""
    emulator = start()
    processing: dict[str, Any] = {"set": {"status": 1}, "delete": ["result_urls"]}
    emulator.plan("get", "data", **processing, probability=1)
    tries = generating(
        bench, output_path=output_path, deferrable=True, timeout=60, execution_timeout=timedelta(seconds=3)
    )
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.GenerationTimeoutError)
    emulator.clear_faults()
    emulator.plan("get", "data", **processing, times=2)  # before the wait and in it: one that is over gives up
    assert tries.next() == "success"
    assert bought(emulator) == 1
