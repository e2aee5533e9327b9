"""Buys a generation for a task, at most once over all tries of one run of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage._compat import AirflowException
from airflow_provider_qwenimage.api.errors import (
    AuthenticationError,
    GenerationFailedError,
    InvalidSettingsError,
    NotFoundError,
    QwenImageError,
    UnknownOutcomeError,
)
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.durable import Record
from airflow_provider_qwenimage.exceptions import airflow_errors, for_airflow, unusable_settings

if TYPE_CHECKING:
    from airflow_provider_qwenimage.api.models import GenerationRequest
    from airflow_provider_qwenimage.durable import Store
    from airflow_provider_qwenimage.hooks import QwenImageHook


class Purchase:
    """What one task instance buys.

    :param hook: the account.
    :param store: where tries leave word for each other.
    :param fingerprint: digest of the request.
    :param marker: tells the tries of one run of the task from those after a manual Clear.
    :param resubmit: whether to submit again after a submission whose outcome is unknown.
    :param is_killed: tells whether the task is to end, so that nothing more is bought.
    :param log: the task's logger.
    """

    def __init__(
        self,
        hook: QwenImageHook,
        store: Store,
        *,
        fingerprint: str,
        marker: int,
        resubmit: bool,
        is_killed: Callable[[], bool],
        log: Any,
    ) -> None:
        self._hook = hook
        self._store = store
        self._fingerprint = fingerprint
        self._marker = marker
        self._resubmit = resubmit
        self._is_killed = is_killed
        self._log = log
        self._unknown_to_service: Record | None = None

    def of_earlier_try(self) -> Record | None:
        """Return the generation that an earlier try of this request has bought, if it is still good for something.

        :raises UnknownOutcomeError: that try was cut off while it submitted, so it may have bought.
        """
        found = self._store.load()
        if found is None or (found.fingerprint, found.marker) != (self._fingerprint, self._marker):
            return None
        if found.generation_id is None:
            self._judge_cut_off()
            return None
        if not self._is_still_good(found, found.generation_id):
            return None
        metrics.count("reattached")
        self._log.info("An earlier try has bought generation %s: going on with it", printable(found.generation_id))
        return found

    def make(self, request: GenerationRequest) -> Record:
        """Submit, and note the generation before anything else can happen.

        :raises UnknownOutcomeError: the answer was lost; no retry, unless this is to resubmit.
        """
        with airflow_errors():
            client = self._hook.get_conn()
        record = Record(self._fingerprint, self._marker, intended_at=time.time())
        self._store.save(record)  # before the purchase: where this fails, nothing is bought
        if self._is_killed():
            self._forget()
            raise AirflowException("The task was stopped before it submitted anything, so no credits were spent.")
        try:
            submission = client.create_task(request)
        except UnknownOutcomeError as error:
            raise for_airflow(error, AirflowException if self._resubmit else None) from error.__cause__
        except QwenImageError as error:
            self._forget()
            raise for_airflow(error) from error.__cause__
        record = replace(
            record,
            generation_id=submission.generation_id,
            submitted_at=time.time(),
            estimated_time=submission.estimated_time,
        )
        self._note(record)
        return record

    def _note(self, record: Record) -> None:
        when = "" if record.estimated_time is None else f", ready in about {record.estimated_time:g} s"
        self._log.info("Submitted generation %s%s", printable(str(record.generation_id)), when)
        try:
            self._store.save(record)
        except Exception:  # it is bought, and known here: failing now would lose it
            shown = printable(str(record.generation_id))
            self._log.exception("Generation %s is bought, but could not be noted for a retry", shown)
        metrics.count("submitted")

    def _forget(self) -> None:
        """Nothing was bought: the next try is free to submit, or finds again what this one was to replace."""
        try:
            if self._unknown_to_service:  # another account's key, say, or a service in trouble: it may be known again
                self._store.save(self._unknown_to_service)
            else:
                self._store.forget()
        except Exception:  # what the service said must not be lost over it
            self._log.exception("Nothing was bought, but that could not be noted: a retry will not know, and say so")

    def _judge_cut_off(self) -> None:
        if self._resubmit:
            self._log.warning("An earlier try was cut off while it submitted: submitting again, as was asked for")
            return
        with airflow_errors():
            raise UnknownOutcomeError("An earlier try of this task was cut off while it submitted.")

    def _is_still_good(self, record: Record, generation_id: str) -> bool:
        """Ask the service: a failed generation is over, and so is one that it does not know any more."""
        from airflow_provider_qwenimage.api.models import GenerationStatus
        from airflow_provider_qwenimage.api.waiting import about, may_be_unknown

        shown = printable(generation_id)
        try:
            if self._hook.get_task(generation_id).status is not GenerationStatus.FAILED:
                return True
            why = "has failed"
        except GenerationFailedError:
            why = "has no images"
        except NotFoundError:
            if may_be_unknown(record.submitted_at or 0.0, time.time(), record.estimated_time):
                return True
            why = "is not known to the service any more"
            self._unknown_to_service = record
        except AuthenticationError as error:
            raise about(error, generation_id) from error.__cause__
        except InvalidSettingsError as error:
            raise unusable_settings(error, generation_id) from error.__cause__
        except QwenImageError as error:  # it is bought, and the wait bears with a service in trouble
            self._log.warning("Generation %s could not be asked for, going on: %s", shown, error.message)
            return True
        self._log.warning("Generation %s of an earlier try %s: submitting a new one", shown, why)
        return False
