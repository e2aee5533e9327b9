"""Metrics of a batch: a client that fails, as one whose agent is away, costs nothing that was bought."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from batch_tries import Tries, ledger_lines

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage.emulator import Emulator

NewTries = Callable[..., Tries]
THREE = ["a cat", "a dog", "a kite"]


class Counted:
    """Takes what is counted, and tells somebody first."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told

    def incr(self, name: str, amount: int = 1) -> None:
        self._told(name)

    def timing(self, name: str, duration: Any) -> None:
        self._told(name)


def test_a_purchase_is_noted_before_it_is_counted(tries: NewTries, service: Emulator, monkeypatch: pytest.MonkeyPatch):
    """Whatever a metrics client does, its id stands in the ledger by then."""
    run = tries(requests=THREE, max_active=1)
    noted: list[int] = []

    def look(name: str) -> None:
        if name == "qwenimage.submitted":
            found = ledger_lines(run.arguments["output_path"])
            noted.append(sum(line["state"] == "submitted" for line in found))

    monkeypatch.setattr(metrics, "stats", lambda: Counted(look))
    assert run.next(), run.error
    assert noted == [1, 2, 3]


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_metrics_that_fail_cost_nothing(
    deferrable: bool,
    tries: NewTries,
    service: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """All is saved in one try, each bought once; one warning tells of it, however much is counted."""

    def away(name: str) -> None:
        raise ConnectionRefusedError("the metrics agent is away")

    monkeypatch.setattr(metrics, "stats", lambda: Counted(away))
    monkeypatch.setattr(metrics, "_told", False, raising=False)
    run = tries(requests=THREE, deferrable=deferrable)
    with caplog.at_level("WARNING"):
        assert run.next(), run.error
    assert set(run.outcomes.values()) == {"saved"}
    assert service.report()["bought"] == 3
    (line,) = [record for record in caplog.records if record.name == metrics.__name__]
    assert "the metrics agent is away" in line.getMessage()


def test_metrics_that_are_not_there_cost_nothing(monkeypatch: pytest.MonkeyPatch):
    """Nor does Airflow's own trouble in making the client; what ends a task still ends it."""

    def fail(error: BaseException) -> Callable[[], Any]:
        def stats() -> Any:
            raise error

        return stats

    monkeypatch.setattr(metrics, "stats", fail(ImportError("no statsd")))
    metrics.count("submitted")
    metrics.timing("generation_seconds", 1.5)
    monkeypatch.setattr(metrics, "stats", fail(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        metrics.count("submitted")
