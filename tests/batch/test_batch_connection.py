"""A connection that is changed, or goes bad, while a batch is under way: a retry goes on with what is bought."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from batch_tries import Tries

from airflow_provider_qwenimage._compat import AirflowFailException
from airflow_provider_qwenimage.api.errors import InvalidSettingsError
from airflow_provider_qwenimage.batch.report import BatchError
from airflow_provider_qwenimage.emulator import Emulator

NewTries = Callable[..., Tries]
SIX = [f"picture {i}" for i in range(6)]
MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
CONNECTION = "AIRFLOW_CONN_QWENIMAGE_DEFAULT"


def refuse_key(service: Emulator, **endpoints: int) -> None:
    """Let the service refuse the key, at each of these endpoints after so many requests."""
    for endpoint, skip in endpoints.items():
        service.plan(endpoint, "refuse", message="Invalid API KEY", status=401, skip=skip, times=1000)


def blank_password(service: Emulator) -> str:
    return os.environ[CONNECTION].replace(service.api_key, "")


@MODES
def test_a_key_that_is_refused_in_the_middle(deferrable: bool, tries: NewTries, service: Emulator):
    """Four are bought, then the key is refused everywhere: Airflow retries, and with the new key all are saved."""
    refuse_key(service, create=4, get=0)
    run = tries(requests=SIX, max_active=4, deferrable=deferrable)
    for _ in range(2):  # the second time, the key is still refused from the start
        run.next()
        assert isinstance(run.error, BatchError)
        assert not isinstance(run.error, AirflowFailException)
        assert list(run.outcomes.values()) == ["not_saved"] * 4 + ["not_submitted"] * 2
        assert all("is bought already" in line["error"] for line in run.lines[:4])
        assert all("no credits were spent" in line["error"] for line in run.lines[4:])
        assert "a retry of the task goes on with it and does not buy it again" in str(run.error)
        assert service.report()["bought"] == 4
    service.clear_faults()
    assert run.next(), run.error
    assert set(run.outcomes.values()) == {"saved"}
    assert run.summary == {"asked": 6, "bought": 6, "saved": 6, "failed": 0}
    assert service.report()["bought"] == 6


@MODES
def test_a_key_that_is_refused_for_the_rest(deferrable: bool, tries: NewTries, service: Emulator):
    """All that is bought is saved: the key was good a moment ago, so that a retry may find a new one."""
    refuse_key(service, create=2)
    run = tries(requests=SIX, max_active=1, deferrable=deferrable)
    for _ in range(2):
        run.next()
        assert isinstance(run.error, BatchError)
        assert not isinstance(run.error, AirflowFailException)
        assert list(run.outcomes.values()) == ["saved"] * 2 + ["not_submitted"] * 4
    service.clear_faults()
    assert run.next(), run.error
    assert service.report()["bought"] == 6


def test_min_credits_with_a_key_that_is_refused_once_something_is_bought(tries: NewTries, service: Emulator):
    """The guard asks nothing any more, so its refusal can't give up what is bought, or deny it."""
    refuse_key(service, create=4, get=0, get_credits=1)
    run = tries(requests=SIX, max_active=4, min_credits=1)
    for _ in range(2):
        run.next()
        assert isinstance(run.error, BatchError)
        assert not isinstance(run.error, AirflowFailException)
        assert list(run.outcomes.values()) == ["not_saved"] * 4 + ["not_submitted"] * 2
    service.clear_faults()
    assert run.next(), run.error
    assert service.report()["bought"] == 6


def test_a_password_that_is_blank_while_the_task_is_deferred(
    tries: NewTries, start: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch
):
    """The trigger can't go on, nor can the worker: what is bought is told, and the retry saves it."""
    service = start(duration=0.5)
    right = os.environ[CONNECTION]
    run = tries(requests=SIX, max_active=4, deferrable=True)
    triggerer = run.triggerer

    def blank_meanwhile(trigger: Any) -> Any:
        monkeypatch.setenv(CONNECTION, blank_password(service))
        return triggerer(trigger)

    run.triggerer = blank_meanwhile  # type: ignore[method-assign]
    run.next()
    assert run.deferrals == 1
    assert isinstance(run.error, InvalidSettingsError)
    assert_goes_on(run.error, bought=4)
    monkeypatch.setenv(CONNECTION, right)
    del run.triggerer
    assert run.next(), run.error
    assert set(run.outcomes.values()) == {"saved"}
    assert service.report()["bought"] == 6


def test_a_password_that_is_blank_at_a_retry(tries: NewTries, service: Emulator, monkeypatch: pytest.MonkeyPatch):
    """On the worker too, and as often as Airflow tries."""
    right = os.environ[CONNECTION]
    refuse_key(service, get=0)
    run = tries(requests=SIX)
    run.next()
    monkeypatch.setenv(CONNECTION, blank_password(service))
    for _ in range(2):
        run.next()
        assert isinstance(run.error, InvalidSettingsError)
        assert_goes_on(run.error, bought=6)
    monkeypatch.setenv(CONNECTION, right)
    service.clear_faults()
    assert run.next(), run.error
    assert service.report()["bought"] == 6


@MODES
def test_a_password_that_is_blank_from_the_start(
    deferrable: bool, tries: NewTries, service: Emulator, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is bought, and it says so: a retry can't help."""
    monkeypatch.setenv(CONNECTION, blank_password(service))
    run = tries(requests=SIX, deferrable=deferrable)
    run.next()
    assert isinstance(run.error, InvalidSettingsError)
    assert isinstance(run.error, AirflowFailException)
    assert "Nothing was sent, so no credits were spent." in str(run.error)


def assert_goes_on(error: BaseException | None, bought: int) -> None:
    """Airflow tries again, and the text is true about money."""
    assert not isinstance(error, AirflowFailException)
    assert "no credits were spent" not in str(error)
    assert f"{bought} generations were bought" in str(error)
    assert "a retry goes on with them and does not buy them again" in str(error)
