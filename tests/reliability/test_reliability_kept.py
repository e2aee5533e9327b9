"""What a task has bought is kept, and what it could not save is not bought: connections, places and keys in trouble."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import bought, creates
from dags_made_here import Bench
from reliability_tries import Tries, generating

from airflow_provider_qwenimage._compat import AirflowFailException, object_storage_path
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.durable import FOLDER, FileStore, Record
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

pytestmark = pytest.mark.usefixtures("quick")
CONNECTION = "AIRFLOW_CONN_QWENIMAGE_DEFAULT"


@pytest.fixture
def rekey(monkeypatch: pytest.MonkeyPatch) -> Callable[[Tries, str], None]:
    """Give the connection another key, as somebody does between two tries."""

    def put(tries: Tries, key: str) -> None:
        monkeypatch.setenv(CONNECTION, json.dumps(json.loads(os.environ[CONNECTION]) | {"password": key}))
        tries.task.__dict__.pop("hook", None)

    return put


def the_id(emulator: Emulator) -> str:
    (generation_id,) = emulator.state._generations._by_id
    return str(generation_id)


def check_told(error: BaseException, generation_id: str) -> None:
    """The error tells what is bought, and is worth a retry."""
    assert isinstance(error, errors.InvalidSettingsError)
    assert not isinstance(error, AirflowFailException)
    assert f"Generation {generation_id} is bought already" in str(error)
    assert "no credits were spent" not in str(error)


def test_a_key_that_is_missing_for_a_while_loses_nothing(bench: Bench, service: Emulator, output_path: str, rekey: Any):
    """An empty key field says "nothing was sent" before the purchase, and is final; afterwards neither is true."""
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path)
    rekey(tries, "")
    assert tries.next() == "failed"
    assert "no credits were spent" in str(tries.error)
    rekey(tries, service.api_key)
    tries.clear_keeping_tries()
    assert tries.next() == "up_for_retry"
    rekey(tries, "")
    assert tries.next() == "up_for_retry"
    check_told(tries.error, the_id(service))
    rekey(tries, service.api_key)
    assert tries.next() == "success"
    assert bought(service) == 1


def test_the_same_after_a_deferral(bench: Bench, start: Callable[..., Emulator], output_path: str, rekey: Any):
    """The task comes back from the triggerer, and the key is not there."""
    emulator = start(duration=3600)
    tries = generating(bench, output_path=output_path, deferrable=True)
    assert tries.next(triggerer=False) == "deferred"
    emulator.state.finish(the_id(emulator), "completed")
    rekey(tries, "")
    assert tries.lose_the_trigger("crash") == "up_for_retry"
    check_told(tries.error, the_id(emulator))
    rekey(tries, emulator.api_key)
    assert tries.next() == "success"
    assert bought(emulator) == 1


def test_what_could_not_be_replaced_is_found_again(
    bench: Bench, service: Emulator, output_path: str, monkeypatch: pytest.MonkeyPatch, rekey: Any
):
    """Another account's key in the connection, for a while: it knows no such generation, and has no credits."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.may_be_unknown", lambda *_: False)
    service.state.set_account("key_of_another", 0)
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "up_for_retry"
    first = the_id(service)
    rekey(tries, "key_of_another")
    assert tries.next() == "failed"
    assert isinstance(tries.error, errors.InsufficientCreditsError)
    rekey(tries, service.api_key)
    tries.clear_keeping_tries()
    assert tries.next() == "success"
    assert the_id(service) == first


def test_a_task_that_is_killed_before_it_submits_buys_nothing(
    bench: Bench, service: Emulator, output_path: str, monkeypatch: pytest.MonkeyPatch
):
    """Whoever marks it failed wants no image. A retry of what was killed by itself buys one."""
    tries = generating(bench, output_path=output_path, min_credits=1)
    check = QwenImageGenerateOperator.check_credits

    def check_and_be_killed(self: QwenImageGenerateOperator) -> None:
        check(self)
        self.on_kill()

    with monkeypatch.context() as patch:
        patch.setattr(QwenImageGenerateOperator, "check_credits", check_and_be_killed)
        assert tries.next() == "up_for_retry"
    assert "stopped before it submitted" in str(tries.error)
    assert creates(service) == 0
    tries.change(_killed=False)  # a try is a new process
    assert tries.next() == "success"


def test_a_folder_that_can_not_be_made_buys_nothing(bench: Bench, service: Emulator, tmp_path: Path):
    """Bought and not to be saved, its URLs would expire; each mapped task would buy one."""
    (tmp_path / "file").touch()
    tries = generating(bench, output_path=str(tmp_path / "file" / "images"))
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, OSError)
    assert creates(service) == 0


def test_a_bucket_that_can_not_be_written_to_buys_nothing(
    bench: Bench, service: Emulator, memory: str, monkeypatch: pytest.MonkeyPatch
):
    """The same on an object store; once it takes files, the task goes on."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied")

    tries = generating(bench, output_path=memory)
    with monkeypatch.context() as patch:
        patch.setattr(type(object_storage_path(memory).fs), "put_file", refuse)
        assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, PermissionError)
    assert creates(service) == 0
    assert tries.next() == "success"
    assert bought(service) == 1


def test_no_probe_stays_behind(bench: Bench, service: Emulator, output_path: str):
    """Beside the images there is the folder of the record at most, where Airflow has no store."""
    tries = generating(bench, output_path=output_path)
    assert tries.next() == "success"
    (image,) = tries.xcom()
    names = {path.name for path in object_storage_path(output_path).iterdir()}
    assert names - {FOLDER} == {image.rpartition("/")[2]}


def test_a_place_that_can_only_be_written_to_serves(
    bench: Bench, service: Emulator, memory: str, monkeypatch: pytest.MonkeyPatch
):
    """Where nothing can be removed, the probe stays; the images count."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied")

    for name in ("rm", "rm_file", "_rm"):
        monkeypatch.setattr(type(object_storage_path(memory).fs), name, refuse, raising=False)
    tries = generating(bench, output_path=memory)
    assert tries.next() == "success"
    assert bought(service) == 1


def test_a_record_is_no_input_of_lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Airflow tells OpenLineage of whatever is opened by its path; a record is not what an image is made from."""
    told: list[Any] = []
    paths = type(object_storage_path("/"))
    opened = paths.open

    def tell_and_open(self: Any, *how: Any) -> Any:
        told.append(self)
        return opened(self, *how)

    monkeypatch.setattr(paths, "open", tell_and_open)
    store, record = FileStore(str(tmp_path), "a task"), Record("f", 0, intended_at=1.0)
    store.save(record)
    assert store.load() == record
    assert told == []
    object_storage_path(str(tmp_path / "image")).open("wb").close()
    assert told  # so that the test can fail
