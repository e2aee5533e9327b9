"""The ledger: what survives a crash, how it is merged, who may write, and lines of earlier versions."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from batch_tries import TASK, Tries, ledger_lines, opened
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_qwenimage._compat import object_storage_path
from airflow_provider_qwenimage.batch import ledger as ledger_module
from airflow_provider_qwenimage.batch import segments as segments_module
from airflow_provider_qwenimage.batch.index import Index
from airflow_provider_qwenimage.batch.ledger import Identity, Ledger, LedgerLostError
from airflow_provider_qwenimage.batch.words import STATES, Word
from airflow_provider_qwenimage.emulator import Emulator

NewTries = Callable[..., Tries]


def write(ledger: Ledger, *words: Word) -> None:
    """Append words, each durable before the next."""

    async def one_by_one() -> None:
        for word in words:
            await ledger.append(word)

    asyncio.run(one_by_one())


def states(folder: str, keys: list[str], try_number: int = 9) -> list[str | None]:
    """What a later try reads."""
    with opened(folder, try_number) as (_, index):
        return [word.state if (word := index.word(key)) else None for key in keys]


@pytest.fixture(params=["disk", "object store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path if request.param == "disk" else request.getfixturevalue("memory"))


def test_the_last_word_counts(folder: str):
    """Words of several tries are read in the order of writing."""
    with opened(folder, 1) as (ledger, _):
        write(ledger, ledger.word("a", "intended"), ledger.word("b", "intended"), ledger.word("a", "submitted"))
    with opened(folder, 2) as (ledger, _):
        write(ledger, ledger.word("a", "saved"))
    assert states(folder, ["a", "b", "c"]) == ["saved", "intended", None]


def test_words_that_are_written_together_share_a_flush(memory: str):
    """A hundred words at a time are a handful of objects, not a hundred."""
    with opened(memory) as (ledger, _):

        async def all_at_once() -> None:
            await asyncio.gather(*(ledger.append(ledger.word(str(i), "intended")) for i in range(100)))

        asyncio.run(all_at_once())
    assert len(segments()) <= 4
    assert set(states(memory, [str(i) for i in range(100)])) == {"intended"}


def segments() -> list[str]:
    return sorted(name for name in MemoryFileSystem.store if "segment-" in name)


def test_a_torn_line_is_nobody_s_word(tmp_path: Path):
    """A crash over a write leaves half a line: nothing was done on its word, and what follows is not glued to it."""
    with opened(str(tmp_path)) as (ledger, _):
        write(ledger, ledger.word("a", "submitted"))
    (file,) = tmp_path.glob(".qwenimage/batch-*/segment-*")
    with file.open("ab") as half:
        half.write(b'{"key": "a", "state": "fai')
    assert states(str(tmp_path), ["a"], 2) == ["submitted"]
    with opened(str(tmp_path), 3) as (ledger, _):
        write(ledger, ledger.word("a", "saved"))
    assert states(str(tmp_path), ["a"]) == ["saved"]


def test_after_a_failed_write_lines_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A full disk in mid-line: the caller is told, and the next word goes to a new file."""
    with opened(str(tmp_path)) as (ledger, _):
        write(ledger, ledger.word("a", "intended"))
        full = True

        def fsync(handle: int) -> None:
            if full:
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(segments_module.os, "fsync", fsync)
        with pytest.raises(OSError, match="No space"):
            write(ledger, ledger.word("b", "intended"))
        full = False
        write(ledger, ledger.word("c", "intended"))
    assert len(list(tmp_path.glob(".qwenimage/batch-*/segment-*"))) == 2
    assert states(str(tmp_path), ["a", "c"]) == ["intended", "intended"]


def test_a_damaged_line_buys_nothing(tries: NewTries, service: Emulator):
    """A line that can't be read may tell of a purchase: the try fails and names the folder."""
    run = tries(requests=["a cat"])
    run.next()
    (file,) = Path(run.arguments["output_path"]).glob(".qwenimage/batch-*/segment-*")
    file.write_bytes(b"gibberish\n" + file.read_bytes())
    run.next()
    assert isinstance(run.error, ValueError)
    assert str(file.parent) in str(run.error)
    assert "paid for" in str(run.error)
    assert service.report()["bought"] == 1


def test_small_segments_are_merged(memory: str, monkeypatch: pytest.MonkeyPatch):
    """However long a batch goes on, the next try has few objects to read."""
    monkeypatch.setattr(segments_module, "MERGE_AT", 10)
    with opened(memory) as (ledger, _):
        write(ledger, *(ledger.word(str(i), "submitted") for i in range(95)))
    assert len(segments()) <= 9 + 10
    assert set(states(memory, [str(i) for i in range(95)], 2)) == {"submitted"}
    with opened(memory, 3) as (ledger, _):
        write(ledger, *(ledger.word(str(i), "saved") for i in range(50)))
    assert states(memory, ["0", "49", "50"]) == ["saved", "saved", "submitted"]


@pytest.mark.parametrize("deaths_at", range(12))
def test_a_crash_over_a_merge_loses_nothing(deaths_at: int, memory: str, monkeypatch: pytest.MonkeyPatch):
    """Killed between the merged object and the removal of its parts, or half-way through that."""
    monkeypatch.setattr(segments_module, "MERGE_AT", 10)
    removed = 0

    class Crash(BaseException):
        """Stands for SIGKILL."""

    def rm_file(self: Any, path: str) -> None:
        nonlocal removed
        if removed == deaths_at:
            raise Crash
        removed += 1
        del self.store[self._strip_protocol(path)]

    with opened(memory) as (ledger, _):
        write(ledger, *(ledger.word("a", "intended") for _ in range(8)), ledger.word("a", "saved"))
        with monkeypatch.context() as patch, suppress(Crash):
            patch.setattr(MemoryFileSystem, "rm_file", rm_file)
            ledger._segments.write(f"{ledger.word('b', 'intended').line()}\n".encode())
    assert states(memory, ["a"], 2) == ["saved"]
    with opened(memory, 3) as (ledger, _):
        write(ledger, ledger.word("a", "failed"))
    assert states(memory, ["a"]) == ["failed"]


def test_a_merge_that_fails_stops_nothing(memory: str, monkeypatch: pytest.MonkeyPatch):
    """Merging is housekeeping; what is written counts, and the next write tries again."""
    monkeypatch.setattr(segments_module, "MERGE_AT", 10)

    def put_file(self: Any, *given: Any) -> None:
        raise OSError("try again later")

    with opened(memory) as (ledger, _):
        with monkeypatch.context() as patch:
            patch.setattr(MemoryFileSystem, "put_file", put_file)
            write(ledger, *(ledger.word(str(i), "saved") for i in range(30)))
        assert len(segments()) == 31
        write(ledger, ledger.word("31", "saved"))
        assert len(segments()) == 2
    assert set(states(memory, [str(i) for i in range(30)])) == {"saved"}


def test_two_writers_never_overwrite_each_other(folder: str):
    """A try that is still alive when the next one starts writes beside it, not over it."""
    with opened(folder, 1) as (old, _), opened(folder, 2) as (new, _):
        write(old, old.word("a", "submitted"))
        write(new, new.word("b", "submitted"))
        write(old, old.word("c", "submitted"))
    assert states(folder, ["a", "b", "c"]) == ["submitted"] * 3


def test_the_older_writer_is_fenced(folder: str, monkeypatch: pytest.MonkeyPatch):
    """It notices that the ledger is another's before it submits again."""
    monkeypatch.setattr(ledger_module, "LOOK_EVERY", 0.0)
    with opened(folder, 1) as (old, _):
        asyncio.run(old.check_owner())
        with opened(folder, 2) as (new, _):
            asyncio.run(new.check_owner())
            with pytest.raises(LedgerLostError):
                asyncio.run(old.check_owner())
            old.close()
            asyncio.run(new.check_owner())  # the older one's end changes nothing


def test_a_new_writer_waits_for_one_that_may_be_alive(folder: str):
    """Long enough for it to notice; what it submits meanwhile is read. One that said good-bye is not waited for."""
    waited: list[float] = []
    with opened(folder, 1) as (old, _):
        write(old, old.word("a", "intended"))

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            write(old, old.word("a", "submitted"))

        with Index() as index:
            new = Ledger(object_storage_path(folder), Identity(TASK, 2, 0), index)
            new.take_over(sleep=sleep)
            found = index.word("a")
            assert found
            assert found.state == "submitted"
            new.close()
            with opened(folder, 3, sleep=sleep):
                pass
    assert waited == [ledger_module.TAKEOVER]
    assert ledger_module.TAKEOVER > ledger_module.LOOK_EVERY


def test_a_writer_is_waited_for_whatever_the_clocks_say(folder: str, monkeypatch: pytest.MonkeyPatch):
    """The words of a machine whose clock is an hour behind look old, and it may be submitting all the same."""
    waited: list[float] = []
    now = time.time()
    with monkeypatch.context() as patch:
        patch.setattr(ledger_module.time, "time", lambda: now - 3600)
        with opened(folder, 1):
            pass
    with opened(folder, 2, sleep=waited.append):
        pass
    assert waited == [ledger_module.TAKEOVER]


def test_a_worker_that_lost_its_ledger_submits_nothing(
    tries: NewTries, start: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
):
    """A try that another one has replaced stops submitting, finishes what it has, and fails for a retry."""
    service = start(duration=0.2)
    run = tries(requests=[f"picture {i}" for i in range(30)], max_active=2)
    monkeypatch.setattr(ledger_module, "LOOK_EVERY", 0.0)
    looks = 0
    known = Ledger._owner

    def owner(self: Ledger) -> dict[str, Any] | None:
        nonlocal looks
        looks += 1
        return {"writer": "9-another"} if looks > 5 else known(self)

    monkeypatch.setattr(Ledger, "_owner", owner)
    run.next()
    assert "another try of this task goes on with it" in str(run.error)
    counts = list(run.outcomes.values())
    assert 0 < counts.count("saved") == service.report()["bought"] < 30
    assert counts.count("not_submitted") == 30 - counts.count("saved")
    monkeypatch.setattr(Ledger, "_owner", known)
    assert run.next(), run.error
    assert service.report()["bought"] == 30


def test_an_intent_that_is_written_too_slowly_buys_nothing(
    tries: NewTries, start: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
):
    """Another try that takes over while the intent is on its way to a slow store does not know of it."""
    service = start(duration=0.2)
    run = tries(requests=["a kite", "a boat"], max_active=1)
    monkeypatch.setattr(ledger_module, "LOOK_EVERY", 0.0)
    append, known = Ledger.append, Ledger._owner
    replaced = False

    async def slow(self: Ledger, word: Word) -> None:
        nonlocal replaced
        await append(self, word)
        replaced = True

    monkeypatch.setattr(Ledger, "append", slow)
    monkeypatch.setattr(Ledger, "_owner", lambda self: {"writer": "9-another"} if replaced else known(self))
    run.next()
    assert "another try of this task goes on with it" in str(run.error)
    assert service.report()["requests"].get("create", 0) == 0
    assert list(run.outcomes.values()) == ["not_submitted"] * 2


# One line of each state, as the first version has written it. They stand on users' disks: never change one.
SAMPLES = """\
{"key": "", "state": "started", "fingerprint": "", "marker": 2, "at": 5.5, "by": "1-n", "purchases": 0, "submitted_at": 5.5, "try_at": 5.5}
{"key": "k", "state": "intended", "fingerprint": "f", "marker": 2, "at": 6.5, "by": "1-n", "purchases": 0}
{"key": "k", "state": "free", "fingerprint": "f", "marker": 2, "at": 6.5, "by": "1-n", "purchases": 0}
{"key": "k", "state": "submitted", "fingerprint": "f", "marker": 2, "at": 7.5, "by": "1-n", "purchases": 1, "generation_id": "g", "submitted_at": 7.5, "estimated_time": 15.0}
{"key": "k", "state": "saved", "fingerprint": "f", "marker": 2, "at": 9.5, "by": "1-n", "purchases": 1, "generation_id": "g", "submitted_at": 7.5, "estimated_time": 15.0, "seconds": 2.0, "images": [{"path": "/x/g_0.jpeg", "sha256": "00"}]}
{"key": "k", "state": "failed", "fingerprint": "f", "marker": 2, "at": 9.5, "by": "1-n", "purchases": 1, "generation_id": "g", "submitted_at": 7.5, "reason": "GenerationFailedError", "error": "It failed.", "final": false}
{"key": "k", "state": "rejected", "fingerprint": "f", "marker": 2, "at": 9.5, "by": "1-n", "purchases": 0, "reason": "RejectedError", "error": "No.", "final": true}
{"key": "k", "state": "unknown", "fingerprint": "f", "marker": 2, "at": 9.5, "by": "1-n", "purchases": 0, "reason": "UnknownOutcomeError", "error": "Lost."}
"""  # noqa: E501


@pytest.mark.parametrize("line", SAMPLES.splitlines())
def test_lines_of_the_first_version_are_read(line: str):
    """An upgrade between two tries loses no purchase."""
    told = json.loads(line)
    word = Word.read(line)
    assert {name: getattr(word, name) for name in told} == told
    assert json.loads(word.line()) == told


def test_there_is_a_sample_of_each_state():
    """A new state comes with a new sample."""
    assert {json.loads(line)["state"] for line in SAMPLES.splitlines()} == set(STATES)


def test_fields_of_a_later_version_are_left_out():
    """A downgrade between two tries loses none either."""
    assert Word.read('{"key": "k", "state": "saved", "colour": "red"}') == Word("k", "saved")


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", '{"key": "k"}', '{"key": "k", "state": "sold"}', '{"key": 1, "state": "saved"}']
)
def test_what_is_no_word_is_refused(line: str):
    """Taking it for nothing could buy again."""
    with pytest.raises(ValueError, match="this line can't be"):
        Word.read(line)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(line: bytes):
    """Nothing but a ValueError comes of them."""
    try:
        Word.read(line)
    except ValueError:
        return


def test_the_ledger_of_another_task_is_another(tries: NewTries, service: Emulator):
    """Mapped tasks, and other runs, that share a folder do not share purchases."""
    run = tries(requests=["a cat"])
    run.next()
    run.ti.map_index = 7  # type: ignore[misc]
    run.ti.try_number = 0
    assert run.next()
    assert service.report()["bought"] == 2
    assert len(ledger_lines(run.arguments["output_path"])) == 8
