"""A task that was bought under an Airflow before 3.3 and goes on under a later one: its word is in a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import bought, creates, gets
from dags_made_here import Bench
from reliability_tries import HAS_STORE, RUN_ID, TASK, Tries, generating, without_the_store_of_airflow

from airflow_provider_qwenimage import durable
from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException, object_storage_path
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator

NEW = pytest.mark.skipif(not HAS_STORE, reason="only Airflow 3.3 and later have a store to upgrade to")
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["on the worker", "deferred"])
RECORD = durable.Record("5ab1e9", 3, 1795370000.25, "d425ab4dc256f0ebaa84862b9cea8a3d", 1795370001.5, 15)
LATER = durable.Record("5ab1e9", 4, 1795380000.25)

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture(params=["file", "object store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where images go."""
    return str(request.getfixturevalue("memory") if request.param == "object store" else tmp_path)


@contextmanager
def before_the_upgrade() -> Iterator[None]:
    """Be an Airflow before 3.3 for a while."""
    with pytest.MonkeyPatch.context() as patch:
        without_the_store_of_airflow(patch)
        yield


def not_saved_before_the_upgrade(bench: Bench, service: Emulator, **arguments: Any) -> Tries:
    """A task whose first try, under the older Airflow, has bought a generation and could not fetch its image."""
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, **arguments)
    with before_the_upgrade():
        assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.ImageDownloadError)
    assert bought(service) == 1
    return tries


def notes_in(folder: str) -> dict[str, bytes]:
    """The records beside the images: name -> content."""
    notes = object_storage_path(folder) / durable.FOLDER
    return {path.name: path.open("rb").read() for path in notes.iterdir()} if notes.exists() else {}


def note_of(tries: Tries, folder: Path) -> Path:
    """Where an older Airflow notes what a task buys."""
    store = durable.FileStore(str(folder), "\0".join((tries.dag.dag_id, RUN_ID, TASK, "-1")))
    return Path(store._path.path)


# Whole runs


@NEW
@MODES
def test_a_retry_after_the_upgrade_of_airflow_buys_nothing(
    bench: Bench, service: Emulator, folder: str, deferrable: bool
):
    """What a try under the older Airflow has bought is saved by a retry under the new one."""
    tries = not_saved_before_the_upgrade(bench, service, output_path=folder, deferrable=deferrable)
    before = notes_in(folder)
    assert tries.next() == "success"
    assert (bought(service), creates(service)) == (1, 1)
    assert len(tries.xcom()) == 1
    assert notes_in(folder) == before


@NEW
@MODES
def test_a_clear_after_the_upgrade_makes_a_new_image(bench: Bench, service: Emulator, folder: str, deferrable: bool):
    """The file of before is no hindrance, and the retry of the new run goes on with the new generation."""
    tries = not_saved_before_the_upgrade(bench, service, output_path=folder, deferrable=deferrable)
    before = notes_in(folder)
    tries.clear()
    service.plan("image", "http_error", status=500, times=4)
    assert tries.next() == "up_for_retry"
    assert bought(service) == 2
    assert tries.next() == "success"
    assert bought(service) == 2
    assert notes_in(folder) == before


@NEW
def test_an_upgrade_that_makes_task_instances_anew_buys_nothing(bench: Bench, service: Emulator, folder: str):
    """On SQLite, Airflow drops them on the way from 2.11 to 3.3, and a task begins again with its first try."""
    tries = not_saved_before_the_upgrade(bench, service, output_path=folder)
    with tries._ti() as (ti, _):
        ti.try_number = 0
    assert tries.next() == "success"
    assert (bought(service), creates(service)) == (1, 1)


@NEW
def test_a_submission_that_was_cut_off_before_the_upgrade_is_not_made_again(
    bench: Bench, service: Emulator, folder: str
):
    """An intent counts like one of the new Airflow: it may have been bought."""
    service.plan("create", "close_after")
    tries = generating(bench, output_path=folder)
    with before_the_upgrade():
        assert tries.next() == "failed"
    tries.clear_keeping_tries()
    assert tries.next() == "failed"
    assert isinstance(tries.error, errors.UnknownOutcomeError)
    assert isinstance(tries.error, AirflowFailException)
    assert creates(service) == 1


@NEW
def test_a_wait_that_was_deferred_before_the_upgrade_is_rescued_after_it(
    bench: Bench, service: Emulator, tmp_path: Path
):
    """The first try goes on under the new Airflow, with the XComs that it has pushed under the older one."""
    service.plan("get", "data", set={"status": 1}, delete=["result_urls"], times=3)
    tries = generating(bench, output_path=str(tmp_path), deferrable=True)
    with before_the_upgrade():
        assert tries.next(triggerer=False) == "deferred"
    assert tries.lose_the_trigger("crash") == "success"
    assert bought(service) == 1


@NEW
def test_a_damaged_file_buys_nothing(bench: Bench, service: Emulator, tmp_path: Path):
    """As under the older Airflow, the task names the file instead of buying."""
    tries = not_saved_before_the_upgrade(bench, service, output_path=str(tmp_path))
    note = note_of(tries, tmp_path)
    note.write_bytes(note.read_bytes()[:-20])
    assert tries.next() == "up_for_retry"
    assert str(note) in str(tries.error)
    assert "remove the file to submit anew" in str(tries.error)
    assert bought(service) == 1
    note.unlink()
    assert tries.next() == "success"
    assert bought(service) == 2


@NEW
def test_a_file_that_can_not_be_read_buys_nothing(bench: Bench, service: Emulator, tmp_path: Path):
    """A retry that can't look does not buy blind; it looks again in the next one."""
    tries = not_saved_before_the_upgrade(bench, service, output_path=str(tmp_path))
    note = note_of(tries, tmp_path)
    content = note.read_bytes()
    note.unlink()
    note.mkdir()  # in the way of every user, root included
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, AirflowException)
    assert not isinstance(tries.error, AirflowFailException)
    assert str(note) in str(tries.error)
    assert "nothing was submitted" in str(tries.error)
    assert (bought(service), creates(service)) == (1, 1)
    note.rmdir()
    note.write_bytes(content)
    assert tries.next() == "success"
    assert bought(service) == 1


@NEW
def test_what_can_not_be_read_is_no_matter_where_there_can_be_nothing(bench: Bench, service: Emulator, tmp_path: Path):
    """A first try buys all the same, and nobody looks where Airflow's own store knows what was bought."""
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=str(tmp_path))
    note_of(tries, tmp_path).mkdir(parents=True)
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.ImageDownloadError)
    assert tries.next() == "success"
    assert bought(service) == 1


@NEW
def test_no_file_is_written_where_airflow_has_a_store(bench: Bench, service: Emulator, folder: str):
    """Neither in a first try nor in a retry."""
    service.plan("create", "http_error", status=503, times=4)
    service.plan("image", "http_error", status=500, times=4)
    tries = generating(bench, output_path=folder)
    assert [tries.next() for _ in range(3)] == ["up_for_retry", "up_for_retry", "success"]
    assert bought(service) == 1
    assert notes_in(folder) == {}


@NEW
def test_a_refusal_forgets_the_file_too(bench: Bench, service: Emulator, folder: str):
    """Where the old generation is over and the new one was refused, the next try is free to buy, and asks for none."""
    service.plan("create", "fail")
    tries = generating(bench, output_path=folder)
    with before_the_upgrade():
        assert tries.next() == "up_for_retry"
    service.plan("create", "http_error", status=503, times=4)
    assert tries.next() == "up_for_retry"
    assert isinstance(tries.error, errors.OverloadedError)
    assert notes_in(folder) == {}
    polls = gets(service)
    service.plan("create", "refuse", message="no such style")
    assert tries.next() == "failed"
    assert gets(service) == polls
    assert bought(service) == 1


# The store by itself, on every Airflow


class Accessor(dict[str, Any]):
    """As much of Airflow's as the store needs."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value

    def delete(self, key: str) -> None:
        self.pop(key, None)


class Ti:
    dag_id, run_id, task_id, map_index = "shop", "by_hand", "gen", -1

    def __init__(self, try_number: int) -> None:
        self.try_number = try_number


@pytest.fixture
def older(folder: str) -> durable.Store:
    """The store that the same task has on an older Airflow."""
    return durable.store_for({"ti": Ti(1)}, folder)


def newer(accessor: Accessor, folder: str | None, try_number: int = 2) -> durable.Store:
    return durable.store_for({"ti": Ti(try_number), "task_state_store": accessor}, folder)


def test_airflows_store_is_asked_first(folder: str, older: durable.Store):
    """The file counts only where Airflow's store has nothing."""
    assert newer(Accessor(), folder).load() is None
    older.save(RECORD)
    assert newer(Accessor(), folder).load() == RECORD
    assert newer(Accessor({durable.STATE_KEY: asdict(LATER)}), folder).load() == LATER


def test_a_record_is_saved_in_airflows_store_only(folder: str, older: durable.Store):
    """The file stays as it was."""
    accessor = Accessor()
    older.save(RECORD)
    store = newer(accessor, folder)
    store.save(LATER)
    assert older.load() == RECORD
    assert store.load() == LATER


def test_both_are_forgotten(folder: str, older: durable.Store):
    """So that neither comes back."""
    accessor = Accessor()
    older.save(RECORD)
    store = newer(accessor, folder)
    assert store.load() == RECORD
    store.save(LATER)
    store.forget()
    assert accessor == {}
    assert older.load() is None
    newer(accessor, folder).forget()  # nothing is there: no error


@pytest.mark.parametrize("try_number", [0, 1])
def test_a_first_try_looks_for_the_file_too(folder: str, older: durable.Store, try_number: int):
    """Where an upgrade has dropped the task instances, what would be a second try is a first one."""
    older.save(RECORD)
    assert newer(Accessor(), folder, try_number).load() == RECORD


def test_a_task_without_a_folder_has_no_file():
    """Such as the create operator."""
    assert newer(Accessor(), None).load() is None
