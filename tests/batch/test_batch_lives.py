"""Which words count: those of this life of the task instance, and of this one of several mapped ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from batch_tries import Tries, ledger_lines, opened

from airflow_provider_qwenimage.batch import segments as segments_module
from airflow_provider_qwenimage.emulator import Emulator

NewTries = Callable[..., Tries]
TWO = ["a cat", "a dog"]
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


def made_again(run: Tries) -> Tries:
    """The same run id once more, after the run was deleted: Airflow counts its tries from 1."""
    return Tries(dict(run.arguments))


def images(run: Tries) -> list[Path]:
    return sorted(Path(run.arguments["output_path"]).glob("*.jpeg"))


@MODES
def test_a_run_that_is_made_again_is_another(
    deferrable: bool, tries: NewTries, start: Callable[..., Emulator], caplog: pytest.LogCaptureFixture
):
    """Its first try counts on nothing that another life of the same ids has noted, and says so."""
    service = start(duration=0.3)
    run = tries(requests=TWO, file_name="{key}.{ext}", deferrable=deferrable)
    assert run.next(), run.error
    for image in images(run):
        image.unlink()
    again = made_again(run)
    with caplog.at_level("INFO"):
        assert again.next(), again.error
    assert again.summary == {"asked": 2, "bought": 2, "saved": 2, "failed": 0}
    assert (service.report()["bought"], len(images(again))) == (4, 2)
    assert len([line for line in caplog.messages if "an earlier run with the same id" in line]) == 1


def test_retries_of_the_new_life_go_on_with_it(tries: NewTries, service: Emulator):
    """What the first life has saved does not count for them either; what the new one has bought does."""
    run = tries(requests=TWO, max_active=1)
    run.next()
    service.plan("create", "fail", skip=1, times=1)
    again = made_again(run)
    assert again.next() is None
    assert again.outcomes == {"0": "saved", "1": "failed"}
    kept = again.lines[0]["generation_id"]
    assert again.next(), again.error
    assert again.lines[0]["generation_id"] == kept
    assert again.summary["bought"] == 3
    assert service.report()["bought"] == 5


def test_resume_on_clear_goes_on_with_an_earlier_life(tries: NewTries, service: Emulator):
    """Who wants what there is gets it, whatever became of the run."""
    run = tries(requests=TWO, resume_on_clear=True)
    run.next()
    assert made_again(run).next()
    assert service.report()["bought"] == 2


def test_a_first_life_writes_what_it_always_wrote(tries: NewTries, service: Emulator):
    """Nothing in a ledger speaks of lives before there is a second one."""
    run = tries(requests=["a cat"])
    run.next()
    assert [line for line in ledger_lines(run.arguments["output_path"]) if "life" in line] == []


def test_late_words_of_an_earlier_life_count_nothing(memory: str):
    """A worker of the first life that still saves something, after the second one has begun."""
    with opened(memory, 1) as (old, _):
        asyncio.run(old.append(old.word("a", "submitted", generation_id="old")))
        with opened(memory, 1) as (new, index):
            assert index.word("a") is None
            asyncio.run(new.append(new.word("a", "submitted", generation_id="new")))
            for _ in range(5):
                asyncio.run(old.append(old.word("a", "saved", generation_id="old")))
            with opened(memory, 2) as (_, index):
                found = index.word("a")
    assert found
    assert (found.state, found.generation_id) == ("submitted", "new")


def test_an_older_writer_merges_nothing(memory: str, monkeypatch: pytest.MonkeyPatch):
    """What it would store anew would come after the words of the one that has taken over."""
    monkeypatch.setattr(segments_module, "MERGE_AT", 10)
    with opened(memory, 1) as (old, _):
        asyncio.run(old.append(old.word("a", "free")))
        with opened(memory, 2) as (new, _):
            asyncio.run(new.append(new.word("a", "submitted", generation_id="new")))
            for number in range(25):
                asyncio.run(old.append(old.word(f"o{number}", "saved")))
            with opened(memory, 3) as (third, index):
                found = index.word("a")
                assert found
                assert (found.state, found.generation_id) == ("submitted", "new")
                assert third.purchases_of("o24") == 0


def test_mapped_batches_have_keys_of_their_own(tries: NewTries, service: Emulator):
    """Every chunk starts at position 0: its files must not replace another chunk's."""
    runs = []
    for index in (0, 1):
        run = tries(requests=[f"red {index}", f"blue {index}"], file_name="{key}.{ext}")
        run.ti.map_index = index  # type: ignore[misc]
        runs.append(run)
        assert run.next(), run.error
    assert [path.name for path in images(runs[0])] == ["0-0.jpeg", "0-1.jpeg", "1-0.jpeg", "1-1.jpeg"]


@pytest.mark.parametrize(("name", "made"), [("all.jsonl", "all-3.jsonl"), ("v1.2/all", "v1.2/all-3")])
def test_mapped_batches_have_manifests_of_their_own(
    name: str, made: str, tries: NewTries, service: Emulator, tmp_path: Path
):
    """A path that is given once is given to all of them."""
    run = tries(requests=TWO, manifest=str(tmp_path / name))
    run.ti.map_index = 3  # type: ignore[misc]
    assert run.next() == str(tmp_path / made)
    lines = (tmp_path / made).read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["3-0", "3-1"]
