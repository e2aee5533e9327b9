"""The retry policy of Airflow 3.3: what is retried when, class by class."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from airflow_runs import bought, creates
from dags_made_here import Bench, task
from reliability_tries import HAS_STORE, Tries, generating

from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.exceptions import for_airflow
from airflow_provider_qwenimage.hooks import QwenImageHook

pytestmark = [
    pytest.mark.skipif(not HAS_STORE, reason="retry policies came with Airflow 3.3"),
    pytest.mark.usefixtures("quick"),
]


def decide(error: BaseException) -> Any:
    from airflow_provider_qwenimage.retry_policies import QwenImageRetryPolicy

    return QwenImageRetryPolicy().evaluate(error, 1, 3)


@pytest.mark.parametrize(
    "kind",
    [
        errors.AuthenticationError,
        errors.InsufficientCreditsError,
        errors.InvalidImageError,
        errors.RejectedError,
        errors.NotFoundError,
        errors.InvalidRequestError,
        errors.InvalidSettingsError,
        errors.UnknownOutcomeError,
        errors.NoImagesError,
        errors.MissingImagesError,
        errors.ForbiddenHostError,
    ],
)
def test_what_a_retry_can_not_mend_fails_at_once(kind: type[errors.QwenImageError]):
    """Errors that would come again, or cost again, end the task; the reason is the error's name."""
    found = decide(kind("no"))
    assert found.action.value == "fail"
    assert kind.__name__ in found.reason


@pytest.mark.parametrize(
    "kind",
    [
        errors.ServiceError,
        errors.NotSentError,
        errors.OverloadedError,
        errors.UploadError,
        errors.GenerationFailedError,
        errors.GenerationTimeoutError,
        errors.ImageDownloadError,
        errors.ImageGoneError,
        errors.BrokenImageError,
    ],
)
def test_what_a_retry_may_mend_is_left_to_the_task(kind: type[errors.QwenImageError]):
    """Others are retried as the task says."""
    assert decide(kind("not now")).action.value == "default"


def test_other_errors_are_left_to_the_task():
    """The policy has no opinion on what is not ours."""
    assert decide(OSError("disk full")).action.value == "default"


def test_an_overloaded_service_is_given_the_time_that_it_asks_for():
    """Retry-After becomes the delay of the retry."""
    found = decide(errors.OverloadedError("busy", retry_after=90))
    assert (found.action.value, found.retry_delay) == ("retry", timedelta(seconds=90))
    assert "90 s" in found.reason


def test_an_unknown_outcome_that_may_be_bought_again_is_retried():
    """on_unknown_submit="resubmit" holds with the policy too: such an error is made for a retry."""
    error = for_airflow(errors.UnknownOutcomeError("lost"), AirflowException)
    assert decide(error).action.value == "default"
    assert isinstance(for_airflow(errors.UnknownOutcomeError("lost")), AirflowFailException)


def test_in_a_real_run_a_resubmit_is_retried(bench: Bench, service: Emulator):
    """A lost answer, the policy and on_unknown_submit="resubmit" together lead to a second purchase, as asked for."""
    from airflow_provider_qwenimage.retry_policies import QwenImageRetryPolicy

    service.plan("create", "close_after")
    tries = generating(bench, on_unknown_submit="resubmit", retry_policy=QwenImageRetryPolicy())
    assert tries.next() == "up_for_retry"
    assert tries.next() == "success"
    assert bought(service) == 2


def test_in_a_real_run_retry_after_is_waited_for(bench: Bench, service: Emulator):
    """Airflow plans the retry of an overloaded service for when the service asked."""
    from airflow_provider_qwenimage.retry_policies import QwenImageRetryPolicy

    service.plan("create", "http_error", status=429, retry_after=120, times=4)
    tries = generating(bench, retry_policy=QwenImageRetryPolicy())
    assert tries.next() == "up_for_retry"
    with tries._ti() as (ti, _):
        ti.task = tries.task
        assert ti.next_retry_datetime() - ti.end_date >= timedelta(seconds=119)
    assert creates(service) == 4


def test_in_a_real_run_a_function_with_a_bad_key_fails_at_once(bench: Bench, service: Emulator, monkeypatch: Any):
    """A function that uses the client itself gets plain errors: the policy knows them."""
    from airflow_provider_qwenimage.retry_policies import QwenImageRetryPolicy

    service.plan("get_credits", "refuse", message="Invalid API KEY")

    def build() -> None:
        @task(retry_policy=QwenImageRetryPolicy())
        def gen() -> float:
            return QwenImageHook().get_conn().get_credits()

        gen()

    tries = Tries(bench, build)
    assert tries.next() == "failed"
    assert type(tries.error) is errors.AuthenticationError
