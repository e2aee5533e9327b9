"""How items end, and what it costs: each ending is looked up in the emulator's own books."""

from __future__ import annotations

import hashlib
import importlib
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_tries import Tries, ledger_lines

from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException
from airflow_provider_qwenimage.api.errors import InsufficientCreditsError
from airflow_provider_qwenimage.batch.gate import REJECTED_IN_A_ROW, SUBMITS_AT_ONCE, UNKNOWN_IN_A_ROW
from airflow_provider_qwenimage.batch.ledger import Ledger
from airflow_provider_qwenimage.batch.report import BatchError
from airflow_provider_qwenimage.emulator import Emulator, pictures

NewTries = Callable[..., Tries]
THREE = ["a cat", "a dog", "a kite"]
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


def bought(service: Emulator) -> int:
    return int(service.report()["bought"])


def creates(service: Emulator) -> int:
    return int(service.report()["requests"].get("create", 0))


def files(run: Tries) -> list[str]:
    """The images that were saved, by name."""
    return sorted(path.name for path in Path(run.arguments["output_path"]).glob("*.jpeg"))


@MODES
def test_all_saved(deferrable: bool, tries: NewTries, start: Callable[..., Emulator]):
    """Manifest, files, XComs and purchases agree; the order is that of the requests."""
    service = start(duration=0.5)
    run = tries(
        requests=[{"prompt": f"picture {i}", "key": f"k{i}", "num_outputs": 1 + i % 2} for i in range(10)],
        max_active=4,
        file_name="{key}-{index}.{ext}",
        deferrable=deferrable,
    )
    assert run.next() == str(next(Path(run.arguments["output_path"]).glob("manifest-*.jsonl"))), run.error
    assert (run.deferrals > 0) == deferrable
    lines = run.lines
    assert [line["key"] for line in lines] == [f"k{i}" for i in range(10)]
    assert set(run.outcomes.values()) == {"saved"}
    for line in lines:
        assert line["error"] is None
        assert [Path(record["path"]).name for record in line["images"]] == [
            f"{line['key']}-{index}.jpeg" for index in range(line["request"]["num_outputs"])
        ]
        for record in line["images"]:
            content = Path(record["path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == record["sha256"]
            assert (record["generation_id"], record["key"]) == (line["generation_id"], line["key"])
            assert (record["prompt"], record["width"]) == (line["request"]["prompt"], 96)
    assert run.summary == {"asked": 10, "bought": 10, "saved": 10, "failed": 0}
    assert run.ti.xcoms["images"] == [record for line in lines for record in line["images"]]
    assert (bought(service), service.report()["violations"]) == (10, [])


def test_xcoms_stay_small(tries: NewTries, service: Emulator):
    """Of many images the XCom holds the first ones."""
    run = tries(requests=[f"picture {i}" for i in range(30)])
    run.next()
    assert [record["key"] for record in run.ti.xcoms["images"]] == [str(i) for i in range(24)]


def test_no_more_than_max_active_at_a_time(tries: NewTries, start: Callable[..., Emulator]):
    """As many generations are in flight as were asked for, and never more."""
    service = start(duration=0.3)
    highest, over = 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not over.wait(0.005):
            highest = max(highest, service.report()["generations"]["processing"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        assert tries(requests=[f"picture {i}" for i in range(20)], max_active=5).next()
    finally:
        over.set()
        watcher.join()
    assert 2 <= highest <= 5


@MODES
def test_a_retry_buys_only_what_failed(deferrable: bool, tries: NewTries, service: Emulator):
    """What is saved stays; a failed generation is bought again; the others never wait for it."""
    service.plan("create", "fail", skip=1, times=1)
    run = tries(requests=THREE, max_active=1, deferrable=deferrable)
    assert run.next() is None
    assert isinstance(run.error, BatchError)
    assert not isinstance(run.error, AirflowFailException)
    assert run.outcomes == {"0": "saved", "1": "failed", "2": "saved"}
    assert run.summary == {"asked": 3, "bought": 3, "saved": 2, "failed": 1}
    before = [line["images"] for line in run.lines]
    assert run.next(), run.error
    assert run.summary == {"asked": 3, "bought": 4, "saved": 3, "failed": 0}
    assert [line["images"] for line in run.lines][::2] == before[::2]
    assert bought(service) == 4


def test_a_manual_clear_makes_everything_anew(tries: NewTries, service: Emulator):
    """As with every other task of ours; the sum of a run starts again."""
    run = tries(requests=THREE)
    run.next()
    run.clear()
    assert run.next()
    assert run.summary == {"asked": 3, "bought": 3, "saved": 3, "failed": 0}
    assert bought(service) == 6


def test_resume_on_clear_keeps_what_is_done(tries: NewTries, service: Emulator):
    """With resume_on_clear a Clear is like a retry."""
    run = tries(requests=THREE, resume_on_clear=True)
    run.next()
    run.clear()
    assert run.next()
    assert run.summary == {"asked": 3, "bought": 3, "saved": 3, "failed": 0}
    assert bought(service) == 3


def test_another_request_under_a_key_is_another_purchase(tries: NewTries, service: Emulator):
    """An edited request is bought; the others are not."""
    run = tries(requests=THREE)
    run.next()
    assert run.next(requests=["a cat", "a fish", "a kite"])
    assert [line["request"]["prompt"] for line in run.lines] == ["a cat", "a fish", "a kite"]
    assert bought(service) == 4


def test_items_may_come_and_go_between_tries(tries: NewTries, service: Emulator):
    """A retry with fewer or more requests buys what is new, and forgets nothing."""
    run = tries(requests=[{"prompt": "a", "key": "a"}, {"prompt": "b", "key": "b"}])
    run.next()
    assert run.next(requests=[{"prompt": "c", "key": "c"}, {"prompt": "b", "key": "b"}])
    assert run.outcomes == {"c": "saved", "b": "saved"}
    assert run.next(requests=[{"prompt": name, "key": name} for name in "abc"])
    assert bought(service) == 3


@MODES
def test_a_lost_answer_is_not_bought_again(deferrable: bool, tries: NewTries, service: Emulator):
    """It may have been charged: it stays unknown over all tries, and no retry is worth while."""
    service.plan("create", "close_after", times=1)
    run = tries(requests=THREE, max_active=1, deferrable=deferrable)
    for _ in range(2):
        assert run.next() is None
        assert isinstance(run.error, AirflowFailException)
        assert run.outcomes == {"0": "unknown", "1": "saved", "2": "saved"}
        assert "may have been started and charged" in run.lines[0]["error"]
        assert run.summary == {"asked": 3, "bought": 2, "saved": 2, "failed": 1}
    assert bought(service) == 3


def test_a_lost_answer_is_bought_again_if_told_to(tries: NewTries, service: Emulator):
    """With on_unknown_submit="resubmit" Airflow's retry submits again, and may pay twice."""
    service.plan("create", "close_after", times=1)
    run = tries(requests=THREE, max_active=1, on_unknown_submit="resubmit")
    assert run.next() is None
    assert not isinstance(run.error, AirflowFailException)
    assert run.next()
    assert bought(service) == 4


def test_lost_answers_in_a_row_stop_the_purchases(tries: NewTries, service: Emulator):
    """A service whose answers all get lost must not go on costing money."""
    service.plan("create", "close_after", times=1000)
    run = tries(requests=[f"picture {i}" for i in range(100)])
    run.next()
    counts = sorted(run.outcomes.values())
    assert UNKNOWN_IN_A_ROW <= counts.count("unknown") <= UNKNOWN_IN_A_ROW + 8
    assert counts.count("not_submitted") == 100 - counts.count("unknown")
    assert bought(service) == counts.count("unknown")


def test_a_rejected_request_stays_rejected(tries: NewTries, service: Emulator):
    """The service says no to one: the others are made; a retry would not help and sends it no more."""
    service.plan("create", "refuse", message="Invalid image url", times=1)
    run = tries(requests=THREE, max_active=1)
    run.next()
    assert isinstance(run.error, AirflowFailException)
    assert run.outcomes == {"0": "rejected", "1": "saved", "2": "saved"}
    assert "Invalid image url" in run.lines[0]["error"]
    run.next()
    assert (creates(service), bought(service)) == (3, 2)


def test_credits_that_run_out_stop_the_purchases(tries: NewTries, start: Callable[..., Emulator]):
    """What is in flight is finished, the rest is not even tried; resume_on_clear lets a Clear go on after a top-up."""
    service = start(credits=4)
    run = tries(requests=[f"picture {i}" for i in range(50)], max_active=2, resume_on_clear=True)
    run.next()
    assert isinstance(run.error, AirflowFailException)
    assert "Credits not enough" in str(run.error)
    assert "unless resume_on_clear=True" in str(run.error)
    counts = list(run.outcomes.values())
    assert (counts.count("saved"), counts.count("not_submitted")) == (4, 46)
    assert creates(service) <= 6
    service.state.set_account(service.api_key, 1000)
    run.clear()
    assert run.next(), run.error
    assert run.summary["bought"] == bought(service) == 50


def test_a_wrong_key_stops_at_once(tries: NewTries, service: Emulator):
    """Ten thousand refusals would look like an attack."""
    service.state.set_account(service.api_key, 1000, enabled=False)
    run = tries(requests=[f"picture {i}" for i in range(50)])
    run.next()
    assert isinstance(run.error, AirflowFailException)
    assert "Invalid API KEY" in str(run.error)
    assert set(run.outcomes.values()) == {"not_submitted"}
    assert creates(service) <= 8


def test_min_credits_is_checked_once_and_before(tries: NewTries, service: Emulator):
    """Too few for the lot: nothing is submitted. Nothing to buy: nothing is asked."""
    run = tries(requests=THREE, min_credits=1001)
    run.next()
    assert isinstance(run.error, InsufficientCreditsError)
    assert creates(service) == 0
    assert run.next(min_credits=3)
    assert service.report()["requests"]["get_credits"] == 2
    assert run.next(min_credits=10**6)
    assert service.report()["requests"]["get_credits"] == 2


def test_min_credits_is_not_asked_of_a_try_that_goes_on(tries: NewTries, service: Emulator):
    """What the first try has spent is missing: the next one would give up what is bought, and the task be final."""
    service.plan("create", "http_error", status=503, skip=2, times=100)
    run = tries(requests=THREE, min_credits=1000, timeout=0.2)
    run.next()
    assert sorted(run.outcomes.values()) == ["not_submitted", "saved", "saved"]
    assert not isinstance(run.error, AirflowFailException)
    service.clear_faults()
    assert run.next(), run.error
    assert service.report()["bought"] == 3


def test_a_storm_of_refusals_is_ridden_out(
    tries: NewTries,
    service: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
):
    """429 over and over: submissions slow down together, all are made in the end, none twice, and it is told."""
    monkeypatch.setattr("airflow_provider_qwenimage.batch.progress.SECONDS_BETWEEN_LINES", 0.1)
    service.plan("create", "http_error", status=429, probability=0.5, times=40)
    run = tries(requests=[f"picture {i}" for i in range(40)])
    with caplog.at_level("INFO"):
        assert run.next(), run.error
    assert bought(service) == 40
    assert creates(service) <= 80
    assert re.search(r"put off by the service \(429, 503\): [1-9]", caplog.text + capfd.readouterr().out)


def test_retry_after_holds_all_submissions(tries: NewTries, service: Emulator):
    """Where the service names a time, nobody asks before it."""
    service.plan("create", "http_error", status=503, retry_after=1, times=1)
    began = time.monotonic()
    assert tries(requests=THREE, max_active=1).next()
    assert time.monotonic() - began >= 1
    assert creates(service) == 4


def test_a_service_that_stays_away_ends_the_batch(tries: NewTries, service: Emulator):
    """Nothing accepted for ``timeout``: the task fails, for a retry; the retry buys what is missing."""
    service.plan("create", "http_error", status=503, skip=2, times=1000)
    run = tries(requests=[f"picture {i}" for i in range(20)], timeout=1, max_active=2)
    run.next()
    assert isinstance(run.error, BatchError)
    assert not isinstance(run.error, AirflowFailException)
    counts = list(run.outcomes.values())
    assert (counts.count("saved"), counts.count("not_submitted")) == (2, 18)
    service.clear_faults()
    assert run.next(), run.error
    assert bought(service) == 20


def test_the_same_no_to_everything_stops_the_purchases(tries: NewTries, service: Emulator):
    """Refusals that say "Server busy": some are rejected, the others are left for a retry, which goes on with them."""
    service.plan("create", "refuse", message="Server busy", times=1000)
    run = tries(requests=[f"picture {i}" for i in range(60)], resume_on_clear=True)
    run.next()
    assert isinstance(run.error, BatchError)
    assert not isinstance(run.error, AirflowFailException)
    assert "Server busy" in str(run.error)
    rejected = list(run.outcomes.values()).count("rejected")
    assert REJECTED_IN_A_ROW <= rejected == creates(service) < REJECTED_IN_A_ROW + SUBMITS_AT_ONCE
    assert list(run.outcomes.values()).count("not_submitted") == 60 - rejected
    assert "in a row" in run.lines[-1]["error"]
    service.clear_faults()
    run.next()
    assert isinstance(run.error, AirflowFailException)
    assert bought(service) == 60 - rejected
    run.clear()
    assert run.next(), run.error  # a refusal has cost nothing: who clears wants them asked for again
    assert bought(service) == 60


@pytest.mark.parametrize("what", ["fail", "keep"])
def test_missing_images(what: str, tries: NewTries, service: Emulator):
    """Fewer than asked for: what there is, is saved, and nothing is bought again."""
    service.plan("create", "missing_urls", urls="fewer", times=1)
    run = tries(requests=["a cat", "a dog"], num_outputs=3, max_active=1, on_missing_images=what)
    for _ in range(2):
        run.next()
        assert run.outcomes == {"0": "missing_images", "1": "saved"}
        assert run.summary["saved"] == (1 if what == "fail" else 2)
        assert run.error is None or what == "fail"
        assert isinstance(run.error, AirflowFailException) == (what == "fail")
        assert [len(line["images"]) for line in run.lines] == [2, 3]
    assert bought(service) == 2


def test_no_images_at_all_are_not_bought_again(tries: NewTries, service: Emulator):
    """As a moderation block may look: the same request would end the same."""
    service.plan("create", "missing_urls", urls="null", times=1)
    run = tries(requests=THREE, max_active=1)
    for _ in range(2):
        run.next()
        assert isinstance(run.error, AirflowFailException)
        assert run.outcomes == {"0": "failed", "1": "saved", "2": "saved"}
    assert bought(service) == 3


@MODES
def test_an_image_that_can_not_be_saved_is_never_bought_again(deferrable: bool, tries: NewTries, service: Emulator):
    """The retry saves the same generation."""
    service.plan("image", "truncated_image", times=4)
    run = tries(requests=["a cat"], deferrable=deferrable, on_failure="keep")
    assert run.next() is None  # not a single one saved
    assert run.outcomes == {"0": "not_saved"}
    assert not isinstance(run.error, AirflowFailException)
    assert run.next(), run.error
    assert bought(service) == 1


@MODES
def test_a_generation_that_never_ends(deferrable: bool, tries: NewTries, service: Emulator):
    """It times out, alone; a retry asks once more and buys nothing."""
    service.plan("create", "stuck", times=1)
    run = tries(requests=THREE, timeout=1, max_active=1, deferrable=deferrable)
    for _ in range(2):
        assert run.next() is None
        assert not isinstance(run.error, AirflowFailException)
        assert run.outcomes == {"0": "timeout", "1": "saved", "2": "saved"}
    (stuck,) = [g for g in service.state._generations._by_id.values() if g.state == "processing"]
    service.state.finish(stuck.id, "completed")
    assert run.next(), run.error
    assert bought(service) == 3


def test_keep_is_green_with_failures_told(tries: NewTries, service: Emulator):
    """on_failure="keep": the manifest tells, the task succeeds, unless nothing at all was saved."""
    service.plan("create", "fail", times=2)
    run = tries(requests=THREE, max_active=1, on_failure="keep")
    assert run.next()
    assert run.outcomes == {"0": "failed", "1": "failed", "2": "saved"}
    assert run.summary == {"asked": 3, "bought": 3, "saved": 1, "failed": 2}


def test_nothing_asked_for(tries: NewTries, service: Emulator):
    """An empty chunk is no failure."""
    run = tries(requests=[])
    assert run.next()
    assert run.lines == []
    assert run.summary == {"asked": 0, "bought": 0, "saved": 0, "failed": 0}


def test_equal_requests_are_bought_once_if_told_to(tries: NewTries, service: Emulator):
    """deduplicate=True: the others' lines name the same generation and the same files."""
    run = tries(requests=["a cat", "a dog", {"prompt": "a cat", "key": "twin"}, "a cat"], deduplicate=True)
    assert run.next()
    first, dog, twin, last = run.lines
    assert first["generation_id"] == twin["generation_id"] == last["generation_id"] != dog["generation_id"]
    assert first["images"] == twin["images"] == last["images"]
    assert run.summary == {"asked": 4, "bought": 2, "saved": 4, "failed": 0, "deduplicated": 2}
    assert bought(service) == len(files(run)) == 2


def test_equal_requests_are_as_many_purchases_otherwise(tries: NewTries, service: Emulator):
    """Four variants of one prompt are what a user may want."""
    assert tries(requests=["a cat"] * 4).next()
    assert bought(service) == 4


def test_input_images_are_uploaded_one_by_one(tries: NewTries, service: Emulator, tmp_path: Path):
    """Each before its submission; one that is missing or none at all fails alone, and costs nothing."""
    (tmp_path / "in.png").write_bytes(pictures.sample("png"))
    (tmp_path / "none.png").write_text("no picture")
    names = ["in.png", "none.png", "lost.png", "in.png"]
    run = tries(requests=[{"prompt": "as a woodcut", "image": str(tmp_path / name)} for name in names])
    run.next()
    assert list(run.outcomes.values()) == ["saved", "not_submitted", "not_submitted", "saved"]
    assert (bought(service), service.report()["uploads"], service.report()["violations"]) == (2, 2, [])
    assert run.lines[0]["request"]["image"] == str(tmp_path / "in.png")
    (tmp_path / "lost.png").write_bytes(pictures.sample("jpeg"))
    (tmp_path / "none.png").write_bytes(pictures.sample("jpeg"))
    assert run.next(), run.error
    assert bought(service) == 4


def test_sidecars_and_embedded_facts(tries: NewTries, service: Emulator):
    """As with one image: a JSON file beside each, and the prompt in it."""
    run = tries(requests=["a <cat>"], sidecar=True, embed_metadata=True, file_name="{key}.{ext}")
    run.next()
    folder = Path(run.arguments["output_path"])
    assert b"a &lt;cat&gt;" in (folder / "0.jpeg").read_bytes()
    assert '"key": "0"' in (folder / "0.jpeg.json").read_text()
    assert hashlib.sha256((folder / "0.jpeg").read_bytes()).hexdigest() == run.lines[0]["images"][0]["sha256"]


def test_a_manifest_of_ones_own(tries: NewTries, service: Emulator, tmp_path: Path):
    """It goes where it is wanted, and is replaced by the next try."""
    run = tries(requests=THREE, manifest=str(tmp_path / "made" / "m.jsonl"))
    assert run.next() == run.next() == str(tmp_path / "made" / "m.jsonl")
    assert len((tmp_path / "made" / "m.jsonl").read_text().splitlines()) == 3


def test_what_the_service_has_forgotten_is_bought_anew(
    tries: NewTries, service: Emulator, monkeypatch: pytest.MonkeyPatch
):
    """A retry finds that a generation is not known any more: it submits a new one in the same try."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.NOT_FOUND_GRACE", 0.0)
    service.plan("create", "stuck", times=1)
    run = tries(requests=["a cat"], timeout=1)
    run.next()
    assert run.outcomes == {"0": "timeout"}
    service.state.reset()
    assert run.next(timeout=30), run.error
    assert run.summary["bought"] == 2
    assert bought(service) == 1  # since the reset


@MODES
def test_what_another_account_does_not_know_is_not_lost(
    deferrable: bool,
    tries: NewTries,
    start: Callable[..., Emulator],
    qwenimage_connect: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
):
    """A connection that is changed for one try, to an account that can't buy: what was bought is found again."""
    monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.NOT_FOUND_GRACE", 0.0)
    service = start()
    service.plan("image", "http_error", status=503, times=1000)
    run = tries(requests=[f"picture {i}" for i in range(5)], deferrable=deferrable, resume_on_clear=True)
    run.next()
    assert set(run.outcomes.values()) == {"not_saved"}
    other = start(credits=0)
    run.next()
    assert bought(other) == 0
    assert set(run.outcomes.values()) == {"not_submitted"}
    service.clear_faults()
    qwenimage_connect(service)
    assert run.next(), run.error
    assert bought(service) == 5


WHILE = {
    "rows are read": "airflow_provider_qwenimage.batch.run.BatchRun._load",
    "the ledger is taken over": "airflow_provider_qwenimage.batch.ledger.Ledger.take_over",
    "credits are looked up": "airflow_provider_qwenimage.operators.batch.QwenImageBatchGenerateOperator.check_credits",
    "the loop is about to run": "airflow_provider_qwenimage.batch.job.Job.run",
}


@pytest.mark.parametrize("when", WHILE)
def test_stopped_before_anything_is_submitted(
    when: str, tries: NewTries, service: Emulator, monkeypatch: pytest.MonkeyPatch
):
    """on_kill may come at any time; Airflow 3 only calls it, and raises nothing."""
    owner, _, name = WHILE[when].rpartition(".")
    module, _, kind = owner.rpartition(".")
    known: Any = getattr(getattr(importlib.import_module(module), kind), name)
    run = tries(requests=THREE)
    operator = run.operator()

    def killed(*arguments: Any, **named: Any) -> Any:
        operator.on_kill()
        return known(*arguments, **named)

    monkeypatch.setattr(WHILE[when], killed)
    run.operator = lambda: operator  # type: ignore[method-assign]
    assert run.next() is None
    assert "The task was stopped" in str(run.error)
    assert creates(service) == 0


@MODES
def test_a_farewell_that_fails_changes_nothing(
    deferrable: bool, tries: NewTries, start: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
):
    """Saying that this try is done with the ledger is housekeeping: the next one would wait, that is all."""
    service = start(duration=0.5)
    written = Ledger._write_owner

    def write_owner(self: Ledger, *, closed: bool) -> None:
        if closed:
            raise OSError("SlowDown")
        written(self, closed=closed)

    monkeypatch.setattr(Ledger, "_write_owner", write_owner)
    run = tries(requests=THREE, deferrable=deferrable)
    assert run.next(), run.error
    assert (run.deferrals > 0) == deferrable
    assert bought(service) == 3


@MODES
def test_stopping_keeps_what_is_bought(
    deferrable: bool, tries: NewTries, start: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
):
    """on_kill ends a batch at once; the retry goes on with every generation that was in flight."""
    service = start(duration=2.0)
    monkeypatch.setattr("airflow_provider_qwenimage.waits.SHORTEST_DEFERRAL", 1000.0)  # waits on the worker
    run = tries(requests=[f"picture {i}" for i in range(8)], max_active=4, deferrable=deferrable)
    operator, over = run.operator(), threading.Event()

    def kill() -> None:
        while bought(service) < 4 and not over.wait(0.01):
            pass
        operator.on_kill()

    killer = threading.Thread(target=kill)
    run.operator = lambda: operator  # type: ignore[method-assign]
    killer.start()
    try:
        assert run.next() is None
    finally:
        over.set()
        killer.join()
    assert isinstance(run.error, AirflowException)
    assert "4 generations go on at the service and may be charged" in str(run.error)
    assert "return" not in run.ti.xcoms
    del run.operator
    assert run.next(), run.error
    assert bought(service) == 8


def test_a_trigger_that_is_lost_costs_nothing(tries: NewTries, start: Callable[..., Emulator]):
    """Airflow ends a deferral with __fail__: the worker finishes the wave itself."""
    service = start(duration=0.5)
    run = tries(requests=[f"picture {i}" for i in range(6)], max_active=3, deferrable=True)
    run.triggerer = lambda trigger: {"status": "nonsense"}  # type: ignore[method-assign]
    run.next()
    assert isinstance(run.error, ValueError)
    resumed = run.operator()
    resumed.deferrable = False
    context: Any = {"ti": run.ti}
    assert resumed.resume_execution("__fail__", {"error": "Trigger failure"}, context)
    assert bought(service) == 6
    assert set(run.outcomes.values()) == {"saved"}


def test_every_step_is_in_the_ledger(tries: NewTries, service: Emulator):
    """The intent before the purchase, the purchase before the wait, and what was saved."""
    run = tries(requests=["a cat"])
    run.next()
    assert [line["state"] for line in ledger_lines(run.arguments["output_path"])] == [
        "started",
        "intended",
        "submitted",
        "saved",
    ]
