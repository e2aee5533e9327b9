"""Guards on credits: the sensor that waits for a balance, and min_credits on what buys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dags_made_here import Bench

from airflow_provider_qwenimage._compat import AirflowFailException
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageCreateTaskOperator, QwenImageGenerateOperator
from airflow_provider_qwenimage.sensors import QwenImageCreditsSensor

Start = Callable[..., Emulator]


@pytest.mark.parametrize("kind", [QwenImageCreateTaskOperator, QwenImageGenerateOperator])
@pytest.mark.parametrize("wanted", [8, "{{ 7.5 }}"])
def test_too_low_fails_before_buying(kind: Any, wanted: Any, bench: Bench, start: Start):
    """Fewer credits than min_credits: no create request, the balance in the message, no retry."""
    service = start(credits=7)
    run = bench.run_one(lambda: kind(task_id="gen", prompt="a kite", min_credits=wanted), retries=3)
    error = run.error("gen")
    assert isinstance(error, errors.InsufficientCreditsError)
    assert isinstance(error, AirflowFailException)
    assert "7 credits" in str(error)
    report = service.report()
    assert (report["requests"]["create"], report["requests"]["get_credits"], report["bought"]) == (0, 1, 0)


@pytest.mark.parametrize("kind", [QwenImageCreateTaskOperator, QwenImageGenerateOperator])
@pytest.mark.parametrize("wanted", [7, "{{ 7 }}", 0, None, "{{ None }}"])
def test_enough_buys(kind: Any, wanted: Any, bench: Bench, start: Start):
    """The balance itself is enough; without min_credits it is not even asked for."""
    service = start(credits=7)
    run = bench.run_one(lambda: kind(task_id="gen", prompt="a kite", min_credits=wanted))
    assert run.state == "success", run.errors
    assert service.report()["requests"]["get_credits"] == (0 if wanted in (None, "{{ None }}") else 1)


@pytest.mark.parametrize("kind", [QwenImageCreateTaskOperator, QwenImageGenerateOperator])
@pytest.mark.parametrize("wanted", ["{{ 'many' }}", "{{ -1 }}", "{{ True }}"])
def test_guard_that_makes_no_sense_buys_nothing(kind: Any, wanted: Any, bench: Bench, service: Emulator):
    """A min_credits that is no number fails the task: a guard that can't be read must not let anything pass."""
    run = bench.run_one(lambda: kind(task_id="gen", prompt="a kite", min_credits=wanted))
    assert isinstance(run.error("gen"), errors.InvalidRequestError)
    assert service.report()["bought"] == 0


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_sensor_waits_until_somebody_pays(mode: str, bench: Bench, start: Start, monkeypatch: pytest.MonkeyPatch):
    """The sensor asks until the balance is there and returns it; asking costs nothing."""
    service = start(credits=5)
    asked = 0
    balance = service.state.balance

    def pay_at_the_third(account: Any) -> int:
        nonlocal asked
        asked += 1
        if asked == 3:
            service.state.set_account(service.api_key, 50)
        return balance(account)

    monkeypatch.setattr(service.state, "balance", pay_at_the_third)
    run = _sense(bench, min_credits=20, mode=mode)
    assert run.state == "success", run.errors
    assert run.xcom("sense") == 50
    assert service.report()["credits_spent"] == 0
    assert service.report()["requests"]["get_credits"] == 3


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_sensor_gives_up(mode: str, soft_fail: bool, state: str, bench: Bench, start: Start):
    """Time over: failed, or skipped with soft_fail."""
    start(credits=5)
    run = _sense(bench, min_credits=20, mode=mode, timeout=0.3, soft_fail=soft_fail)
    assert run.state_of("sense") == state


def test_sensor_bears_a_service_that_is_away(bench: Bench, service: Emulator):
    """A question that fails but may work later counts as "not yet"."""
    service.plan("get_credits", "http_error", status=503, times=5)
    run = _sense(bench, min_credits=20)
    assert run.state == "success", run.errors
    assert run.xcom("sense") == 1000


@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_sensor_ends_at_once_with_a_wrong_key(soft_fail: bool, state: str, bench: Bench, service: Emulator):
    """A wrong key will not get better by waiting."""
    service.plan("get_credits", "refuse", message="Invalid API KEY", times=99)
    run = _sense(bench, min_credits=20, soft_fail=soft_fail)
    assert run.state_of("sense") == state
    assert service.report()["requests"]["get_credits"] == 1
    if not soft_fail:
        assert isinstance(run.error("sense"), errors.AuthenticationError)


@pytest.mark.parametrize("wanted", ["{{ None }}", "{{ '' }}", "{{ 'many' }}", "{{ -1 }}"])
def test_sensor_without_a_number_does_not_pass(wanted: str, bench: Bench, service: Emulator):
    """A min_credits that renders to nothing is a mistake, not a balance of 0."""
    run = _sense(bench, min_credits=wanted)
    assert isinstance(run.error("sense"), errors.InvalidRequestError)
    assert service.requests() == []


def _sense(bench: Bench, **arguments: Any) -> Any:
    arguments = {"task_id": "sense", "poke_interval": 0.1, "timeout": 30, **arguments}
    return bench.run_one(lambda: QwenImageCreditsSensor(**arguments))


@pytest.mark.parametrize("wrong", ["many", -1, True, [5]])
def test_a_wrong_literal_fails_when_the_dag_is_parsed(wrong: Any):
    """What can't be a balance is found before the task runs."""
    with pytest.raises(errors.InvalidRequestError, match="min_credits must be a number"):
        QwenImageCreateTaskOperator(task_id="create", prompt="a kite", min_credits=wrong)
