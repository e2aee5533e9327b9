"""What a batch says at its end: a summary, and one error for all that was not saved."""

from __future__ import annotations

import time
from typing import Any

from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException
from airflow_provider_qwenimage.api.errors import AuthenticationError, InvalidSettingsError, QwenImageError
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.batch.index import Index, Verdict
from airflow_provider_qwenimage.batch.ledger import Ledger
from airflow_provider_qwenimage.exceptions import for_airflow

SHOWN = 5
MENDED_IN_CONNECTION = (AuthenticationError, InvalidSettingsError)


class BatchError(QwenImageError):
    """Requests of a batch did not end in saved images. The others did; the manifest tells of each."""

    money = "What was bought is remembered: a retry of the task goes on with it and does not buy it again."
    advice = "A manual Clear buys everything again, unless resume_on_clear=True is set before."


def summary(index: Index, ledger: Ledger, good: tuple[str, ...], leaning: int | None) -> dict[str, Any]:
    """Return the XCom ``summary``.

    :param good: the outcomes that are no failures.
    :param leaning: how many requests shared another's purchase; None if they were not to.
    """
    asked, saved = index.asked(), sum(number for name, number in index.outcomes().items() if name in good)
    found = {
        "asked": asked,
        "bought": index.bought(ledger.marker),
        "saved": saved,
        "failed": asked - saved,
        "seconds": round(time.time() - (ledger.started.submitted_at or ledger.started.at), 1),
    }
    return found if leaning is None else found | {"deduplicated": leaning}


def failure(index: Index, good: tuple[str, ...], manifest: str, bought: int) -> QwenImageError | None:
    """Return the error for what was not saved; None if everything was.

    It is final for Airflow if no new try could mend anything. A key that is refused after it has bought something is
    probably being replaced, and a new try reads the connection anew.

    :param bought: how many generations were bought in all tries.
    """
    outcomes = index.outcomes()
    failed = {name: number for name, number in outcomes.items() if name not in good}
    if not failed:
        return None
    counts = ", ".join(f"{number} {name}" for name, number in sorted(failed.items()))
    first = "; ".join(_told(key, verdict) for key, verdict in index.failures(good, SHOWN))
    error = BatchError(
        f"{sum(failed.values())} of {index.asked()} requests have no saved images: {counts}. "
        f"All of them: {manifest}. The first ones: {first}."
    )
    mendable = [kind.__name__ for kind in MENDED_IN_CONNECTION] if bought else []
    return for_airflow(error, AirflowFailException if index.all_final(good, mendable) else AirflowException)


def unusable_connection(error: InvalidSettingsError, bought: int) -> QwenImageError:
    """Return the error for a connection that can't be used when a try begins.

    It is final for Airflow if nothing is bought; else a retry goes on with that, once the connection is mended.

    :param bought: how many generations were bought in all tries.
    """
    if not bought:
        return for_airflow(error)
    told = InvalidSettingsError(error.message)
    told.money = (
        f"In this run of the task {bought} generations were bought. They are remembered: "
        "a retry goes on with them and does not buy them again."
    )
    told.advice = f"{told.advice} {BatchError.advice}".lstrip()
    return for_airflow(told, AirflowException)


def stopped(in_flight: int) -> QwenImageError:
    """Return the error for a batch that was stopped from outside."""
    return for_airflow(BatchError(f"The task was stopped. {goes_on(in_flight)}"), AirflowException)


def goes_on(in_flight: int) -> str:
    """Say what becomes of generations that nobody waits for any more."""
    return f"There is no cancel: {in_flight} generations go on at the service and may be charged."


def _told(key: str, verdict: Verdict) -> str:
    return f"{printable(key, 50)}: {verdict.outcome}, {printable(verdict.error, 200).rstrip('.')}"
