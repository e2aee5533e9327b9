"""Waits for a generation that somebody else submitted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from inspect import unwrap
from math import inf
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage._compat import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.exceptions import for_airflow
from airflow_provider_qwenimage.fields import number_or_none, required_text
from airflow_provider_qwenimage.hooks import DEFAULT_TIMEOUT, QwenImageHook
from airflow_provider_qwenimage.lineage import GenerationLineage
from airflow_provider_qwenimage.links import RESULT_LINKS, publish
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID
from airflow_provider_qwenimage.waits import WaitingTask, time_limit

if TYPE_CHECKING:
    from airflow_provider_qwenimage._compat import Context, XComArg
    from airflow_provider_qwenimage.api.errors import QwenImageError
    from airflow_provider_qwenimage.api.models import Generation
    from airflow_provider_qwenimage.api.waiting import Plan


class QwenImageTaskSensor(WaitingTask, GenerationLineage, BaseSensorOperator):
    """Waits until a generation is completed and returns the URLs of its images, a ``list[str]``.

    Poke, reschedule and deferrable mode give the same result and the same errors. Polls that fail are tolerated until
    the time is over; a wrong API key or a failed generation ends the wait at once, one that the service does not know
    after a minute (it may be too new to be known), and neither is retried by Airflow. The URLs do not live for ever:
    save the images soon.

    :param generation_id: what to wait for, as ``QwenImageCreateTaskOperator`` returns it.
    :param estimated_time: the service's estimate in seconds, as ``QwenImageCreateTaskOperator`` pushes it. Counted from
        the start of the sensor; it spares polls in deferrable mode.
    :param poll_interval: seconds between polls; None means 5 s in poke and reschedule mode, and intervals that grow
        with the age of the generation in deferrable mode. ``poke_interval``, Airflow's name for it, works as well.
    :param deferrable: wait in the triggerer, without a worker slot.
    :param timeout: seconds, or a timedelta, from the start of the sensor until it gives up.
    :param qwenimage_conn_id: id of the connection.
    :raises GenerationFailedError: the service gave up on the generation; an ``AirflowFailException``.
    :raises GenerationTimeoutError: the time is over; an ``AirflowSensorTimeout``.
    """

    template_fields = ("generation_id", "estimated_time", "qwenimage_conn_id")
    operator_extra_links = RESULT_LINKS
    ui_color = "#e8e4fa"
    _started = 0.0

    def __init__(
        self,
        *,
        generation_id: str | XComArg,
        estimated_time: float | str | XComArg | None = None,
        poll_interval: float | timedelta | None = None,
        poke_interval: float | timedelta | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        if poll_interval is not None and poke_interval is not None:
            raise ValueError("poll_interval and poke_interval are two names of one thing: give one of them")
        interval = poke_interval if poll_interval is None else poll_interval
        super().__init__(poke_interval=5.0 if interval is None else interval, timeout=timeout, **kwargs)
        self.generation_id = generation_id
        self.estimated_time = estimated_time
        self.poll_interval = None if interval is None else self.poke_interval
        self.deferrable = deferrable
        self.qwenimage_conn_id = qwenimage_conn_id

    @cached_property
    def hook(self) -> QwenImageHook:
        """The hook of this sensor's connection."""
        return QwenImageHook(self.qwenimage_conn_id)

    def execute(self, context: Context) -> Any:
        """Wait; see the class."""
        self._started = time.time()
        if self.deferrable:
            with self._soft_or_never_failing():
                return self._execute_deferrable(context)
        try:
            # Airflow 2.11 guards execute() against being called by anything but the task runner, a subclass included.
            return unwrap(BaseSensorOperator.execute)(self, context)
        except AirflowSensorTimeout as error:
            metrics.count("failed")
            with self._soft_or_never_failing():
                raise self._timed_out(time.time() - self._started) from error

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once. A poll that fails but may work later is logged and counts as "not yet"."""
        from airflow_provider_qwenimage.api.errors import NotFoundError
        from airflow_provider_qwenimage.api.waiting import Done, GiveUp, Plan, Waiting
        from airflow_provider_qwenimage.worker_wait import poll

        generation_id = required_text("generation_id", self.generation_id)
        self.hook.get_settings()  # a connection that can't be used is no failed poll
        answer, now = poll(self.hook.get_conn(), generation_id), time.time()
        since = self._waiting_since(context) if isinstance(answer, NotFoundError) else now
        found = Waiting(Plan(generation_id, since, inf)).after(now, answer)
        if isinstance(found, GiveUp):
            metrics.count("failed")
            raise for_airflow(found.error, AirflowFailException)
        if isinstance(found, Done):
            return PokeReturnValue(is_done=True, xcom_value=self._urls(context, found.generation))
        if found.problem:
            metrics.count("poll_error")
            self.log.warning(
                "Polling generation %s failed, going on: %s", printable(generation_id), found.problem.message
            )
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Context, event: Any = None) -> list[str]:
        """Finish the wait after the triggerer."""
        from airflow_provider_qwenimage.triggers import WaitEvent

        told = WaitEvent.read(event)
        if told.generation_id != self.generation_id:
            raise ValueError(f"The trigger sent an event about generation {told.generation_id}, not this one")
        with self._soft_or_never_failing():
            return self._urls(context, self.wait_resumed(told, self.poll_interval))

    def rescue(self, context: Context, *, out_of_time: bool) -> list[str] | None:
        """Wait on, on this worker; if Airflow has ended the wait for its length, ask once more."""
        with self._soft_or_never_failing():
            if out_of_time:
                found = self.poke(context)
                return found.xcom_value if found.is_done else None
            return self._urls(context, self.wait_here(self._plan(self._waiting_since(context))))

    def airflow_base_for(self, error: QwenImageError) -> type[AirflowException]:
        """Return ``AirflowSensorTimeout`` when the time is over; anything else ends a sensor without a retry."""
        from airflow_provider_qwenimage.api.errors import GenerationTimeoutError

        return AirflowSensorTimeout if isinstance(error, GenerationTimeoutError) else AirflowFailException

    def _execute_deferrable(self, context: Context) -> Any:
        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        return self._urls(context, self.wait_deferred(self._plan(time.time())))

    def _waiting_since(self, context: Context) -> float:
        """Return when this sensor began, epoch seconds; in reschedule mode each poke is a run of its own."""
        ti: Any = context["ti"]
        first = None
        if self.reschedule and hasattr(ti, "get_first_reschedule_date"):  # 2.11 keeps it as the start date
            first = ti.get_first_reschedule_date(context)
        began = first or getattr(ti, "start_date", None)
        return began.timestamp() if began else self._started or time.time()  # 2.11's dag.test() has no dates

    def _plan(self, began: float) -> Plan:
        from airflow_provider_qwenimage.api.waiting import Plan

        deadline = began + time_limit(self.timeout, self.execution_timeout)
        estimate = number_or_none("estimated_time", self.estimated_time)
        return Plan(str(self.generation_id), began, deadline, estimate, self.poll_interval)

    def _urls(self, context: Context, generation: Generation) -> list[str]:
        metrics.count("succeeded")
        self.finished_generation = generation.generation_id
        publish(self, context, generation.result_urls[0])
        self.log.info("Generation %s has %d image(s)", printable(generation.generation_id), len(generation.result_urls))
        return list(generation.result_urls)

    def _timed_out(self, waited: float) -> Exception:
        from airflow_provider_qwenimage.api.waiting import timed_out

        return for_airflow(timed_out(str(self.generation_id), waited, "it is not completed"), AirflowSensorTimeout)

    @contextmanager
    def _soft_or_never_failing(self) -> Iterator[None]:
        """Skip alike in every mode, also when the time is over: Airflow's own rules differ by mode and version."""
        try:
            yield
        except (AirflowFailException, AirflowSensorTimeout) as error:
            if self.soft_fail or self.never_fail:
                setting = "soft_fail" if self.soft_fail else "never_fail"
                raise AirflowSkipException(f"Skipping, since {setting} is set: {error}") from error
            raise
