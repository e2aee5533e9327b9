"""The service's errors as Airflow exceptions: each in the right family, each still itself."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException, AirflowSensorTimeout
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.exceptions import airflow_errors, for_airflow

# Airflow may try these again; every other one ends the task.
RETRIED = {
    "QwenImageError",
    "TransientError",
    "NotSentError",
    "OverloadedError",
    "ServiceError",
    "UnexpectedReplyError",
    "GenerationError",
    "GenerationTimeoutError",
    "ImageError",
    "ImageGoneError",
    "ImageDownloadError",
    "BrokenImageError",
}


def _all(kind: type[errors.QwenImageError] = errors.QwenImageError) -> Iterator[type[errors.QwenImageError]]:
    if kind.__module__ == errors.__name__:  # not the variants that other tests have made
        yield kind
        for child in kind.__subclasses__():
            yield from _all(child)


KINDS = sorted({kind for kind in _all() if kind.__bases__[-1] is not AirflowException}, key=lambda kind: kind.__name__)
KINDS = [kind for kind in KINDS if not issubclass(kind, AirflowException)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_error_has_its_family(kind: type[errors.QwenImageError]):
    """What a retry can't mend, or may buy twice, is final; everything about it is kept."""
    error = kind("It broke.", http_status=418, service_message="no", retry_after=3.0, generation_id="g")
    found = for_airflow(error)
    assert isinstance(found, kind)
    assert isinstance(found, AirflowException)
    if kind.__name__ in RETRIED:
        assert not isinstance(found, AirflowFailException)
    if issubclass(kind, (errors.RejectedError, errors.InvalidRequestError, errors.UnknownOutcomeError)):
        assert isinstance(found, AirflowFailException)
    assert (str(found), found.message) == (str(error), "It broke.")
    assert (found.http_status, found.service_message, found.retry_after) == (418, "no", 3.0)
    assert found.generation_id == "g"
    assert found.retry_safe == error.retry_safe
    assert type(found).__name__ == kind.__name__
    assert for_airflow(found) is found


def test_final_ones_are_never_safe_to_retry():
    """No error that says of itself that a retry is safe is final for Airflow."""
    for kind in KINDS:
        assert not (kind.retry_safe and isinstance(for_airflow(kind("x")), AirflowFailException))


def test_the_base_may_be_chosen():
    """A sensor's time-out is Airflow's sensor time-out."""
    found = for_airflow(errors.GenerationTimeoutError("late", generation_id="g"), AirflowSensorTimeout)
    assert isinstance(found, AirflowSensorTimeout)
    assert isinstance(found, errors.GenerationTimeoutError)


def test_the_cause_and_the_place_are_kept():
    """The traceback that users see leads to what went wrong."""
    reason = ConnectionResetError("the reason")
    with pytest.raises(errors.ServiceError) as raised, airflow_errors():
        raise errors.ServiceError("lost") from reason
    assert raised.value.__cause__ is reason
    assert isinstance(raised.value, AirflowException)


def test_other_errors_pass():
    """What is not the service's is left as it is."""
    with pytest.raises(ZeroDivisionError), airflow_errors():
        _ = 1 / 0


def test_survives_a_trip_between_processes():
    """Executors and loggers pickle exceptions: the plain error comes back whole."""
    error = errors.AuthenticationError("no", http_status=401, service_message="Invalid API KEY")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
    found = for_airflow(error)
    again = pickle.loads(pickle.dumps(found))
    assert isinstance(again, errors.AuthenticationError)
    assert isinstance(again, AirflowFailException)
    assert str(again) == str(found)
