"""The service's errors as Airflow wants them: final ones end the task, others are retried if it has retries left.

Each is still what it was: ``except AuthenticationError`` catches the Airflow variant too. The tree is in
``airflow_provider_qwenimage.api.errors``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException
from airflow_provider_qwenimage.api.errors import (
    ForbiddenHostError,
    ImageTooLongError,
    InvalidRequestError,
    InvalidSettingsError,
    MissingImagesError,
    NoImagesError,
    QwenImageError,
    RejectedError,
    UnknownOutcomeError,
)

# The same try again would end the same, or might pay twice.
FINAL = (
    ForbiddenHostError,
    ImageTooLongError,
    InvalidRequestError,
    InvalidSettingsError,
    MissingImagesError,
    NoImagesError,
    RejectedError,
    UnknownOutcomeError,
)

_variants: dict[tuple[type[QwenImageError], type[AirflowException]], type[QwenImageError]] = {}


def for_airflow(error: QwenImageError, base: type[AirflowException] | None = None) -> QwenImageError:
    """Return the error as an Airflow exception of the same class and content.

    :param error: what happened.
    :param base: the Airflow exception to be; None chooses ``AirflowFailException`` (no retry) for final errors and
        ``AirflowException`` for others.
    """
    if isinstance(error, AirflowException):
        return error
    kind = _variant(type(error), base or (AirflowFailException if isinstance(error, FINAL) else AirflowException))
    variant: QwenImageError = kind.__new__(kind, *error.args)
    variant.__dict__.update(error.__dict__)
    variant.__cause__, variant.__traceback__ = error.__cause__, error.__traceback__
    return variant


def unusable_settings(found: InvalidSettingsError, generation_id: str) -> QwenImageError:
    """Return the error of a connection that can't be used, for a task whose generation is bought already.

    Unlike before the purchase a retry is worth it: it buys nothing, and what is wrong (a key that is being replaced, a
    worker without the certificates) may be over by then. A task that ends for good would be cleared, which buys anew.
    """
    from airflow_provider_qwenimage.api.waiting import about

    error = for_airflow(about(InvalidSettingsError(found.message), generation_id), AirflowException)
    error.__cause__ = found.__cause__
    return error


@contextmanager
def airflow_errors(base: type[AirflowException] | None = None) -> Iterator[None]:
    """Turn the service's errors that leave the block into Airflow's."""
    try:
        yield
    except QwenImageError as error:
        raise for_airflow(error, base) from error.__cause__


def _variant(kind: type[QwenImageError], base: type[AirflowException]) -> type[QwenImageError]:
    if (kind, base) not in _variants:
        # By its name, pickle would find the plain class.
        def reduce(error: QwenImageError) -> tuple[Any, ...]:
            return _restored, (kind, base, error.args, error.__dict__)

        members = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": reduce}
        _variants[kind, base] = type(kind.__name__, (kind, base), members)
    return _variants[kind, base]


def _restored(
    kind: type[QwenImageError], base: type[AirflowException], args: tuple[Any, ...], state: dict[str, Any]
) -> QwenImageError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return for_airflow(error, base)
