"""How a task waits for a generation: on its worker, or deferred. Shared by the sensor and the operators."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from math import inf
from threading import Event
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage._compat import AirflowException
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.exceptions import for_airflow, unusable_settings

if TYPE_CHECKING:
    from airflow_provider_qwenimage.api.errors import QwenImageError
    from airflow_provider_qwenimage.api.models import Generation
    from airflow_provider_qwenimage.api.settings import Settings
    from airflow_provider_qwenimage.api.waiting import Plan
    from airflow_provider_qwenimage.hooks import QwenImageHook
    from airflow_provider_qwenimage.triggers import WaitEvent

# Airflow's scheduler marks tasks failed whose deferral is over before it has heard that the worker which deferred has
# ended (LocalExecutor, 3.1 to 3.3; stock triggers too). On a busy machine some were failed after 5 s, none after 6 s
# (docs/reliability.md): a wait that ends sooner is finished on the worker, and a trigger fires no event before it.
SHORTEST_DEFERRAL = 6.0
TRIGGER_FAILED = "__fail__"  # Airflow's name for a resumption after a trigger has crashed or timed out
BACKSTOP = 120.0  # seconds after our own deadline at which Airflow ends a deferral that the trigger did not


class WaitingTask:
    """Mixed into operators and sensors that wait for a generation."""

    qwenimage_conn_id: str
    log: Any
    _stop: Event | None = None
    _awaited: str | None = None

    if TYPE_CHECKING:

        @property
        def hook(self) -> QwenImageHook: ...

        def defer(self, **kwargs: Any) -> NoReturn: ...

        def rescue(self, context: Any, *, out_of_time: bool) -> Any:
            """Return the task's result after its trigger failed, or Airflow ended it; None if there is none."""

    def airflow_base_for(self, error: QwenImageError) -> type[AirflowException] | None:
        """Return the Airflow exception that an error of the wait becomes; None for the usual one."""
        return None

    def on_kill(self) -> None:
        """Stop waiting at once. There is no cancel: the generation goes on at the service and may be charged."""
        if self._stop:
            self._stop.set()
        if self._awaited:
            self.log.warning(
                "Stopped waiting: there is no cancel, generation %s goes on at the service and may be charged",
                printable(self._awaited),
            )
        super().on_kill()  # type: ignore[misc]  # Airflow's own, or that of an operator that submits

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Resume; if the trigger crashed or Airflow ended it, ask the service from here before giving up.

        The generation is bought, and a failed wait does not make it bad: failing here would make a retry buy again.
        """
        if next_method == TRIGGER_FAILED:
            why = (next_kwargs or {}).get("error", "no reason given")
            self.log.warning("The wait in the triggerer broke off (%s): asking the service from here", why)
            outcome = self.rescue(context, out_of_time="timeout" in str(why).lower())
            if outcome is not None:
                return outcome
        return super().resume_execution(next_method, next_kwargs, context)  # type: ignore[misc]  # Airflow's own

    def wait_deferred(self, plan: Plan, resume: dict[str, Any] | None = None) -> Generation:
        """Hand the wait to the triggerer; a wait that is about to end is finished here and returns.

        :param resume: what the task needs when it goes on, plain JSON without secrets.
        """
        from airflow_provider_qwenimage.api.errors import GenerationTimeoutError, QwenImageError

        soon = time.time() + SHORTEST_DEFERRAL
        if min(plan.deadline, plan.submitted_at + (plan.estimated_time or inf)) <= soon:
            try:
                return self._wait(replace(plan, deadline=min(plan.deadline, soon)))
            except QwenImageError as error:
                stopped = self._stop and self._stop.is_set()
                if stopped or plan.deadline <= soon or not isinstance(error, GenerationTimeoutError):
                    raise self._failure(error) from error.__cause__
        return self._defer(plan, resume)

    def wait_here(self, plan: Plan) -> Generation:
        """Wait on this worker until the generation is completed.

        :raises QwenImageError: as an Airflow exception; see ``api.waiting``.
        """
        from airflow_provider_qwenimage.api.errors import QwenImageError

        try:
            return self._wait(plan)
        except QwenImageError as error:
            raise self._failure(error) from error.__cause__

    def wait_resumed(self, told: WaitEvent, poll_interval: float | None) -> Generation:
        """Finish a wait after the triggerer: ask the service again on the worker, whatever the event says.

        So a deferred wait ends in the same result or error as one on the worker, and no URL travels in the event.
        """
        from airflow_provider_qwenimage.api.waiting import Plan

        self.log.info("The triggerer's wait for generation %s ended: %s", printable(told.generation_id), told.summary)
        return self.wait_here(Plan(told.generation_id, told.submitted_at, told.deadline, poll_interval=poll_interval))

    def _wait(self, plan: Plan) -> Generation:
        from airflow_provider_qwenimage.worker_wait import wait

        self._stop, self._awaited = Event(), plan.generation_id
        try:
            return wait(self._settings(plan.generation_id), plan, self._stop, self.log)
        finally:
            self._awaited = None

    def _settings(self, generation_id: str) -> Settings:
        from airflow_provider_qwenimage.api.errors import InvalidSettingsError

        try:
            return self.hook.get_settings()
        except InvalidSettingsError as error:
            if self.airflow_base_for(error):
                raise
            raise unusable_settings(error, generation_id) from error.__cause__

    def _failure(self, error: QwenImageError) -> QwenImageError:
        metrics.count("failed")
        return for_airflow(error, self.airflow_base_for(error))

    def _defer(self, plan: Plan, resume: dict[str, Any] | None) -> NoReturn:
        from airflow_provider_qwenimage.triggers import QwenImageTaskTrigger

        now = time.time()
        trigger = QwenImageTaskTrigger(
            plan.generation_id,
            plan.submitted_at,
            plan.deadline,
            self.qwenimage_conn_id,
            plan.estimated_time,
            plan.poll_interval,
            not_before=now + SHORTEST_DEFERRAL,
            resume=resume,
            least_seconds=SHORTEST_DEFERRAL,
        )
        backstop = timedelta(seconds=max(0.0, plan.deadline - now) + BACKSTOP)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)


def time_limit(timeout: float, execution_timeout: timedelta | None) -> float:
    """Return the seconds that a wait may take; Airflow 3 does not apply ``execution_timeout`` to deferred tasks."""
    return min(timeout, execution_timeout.total_seconds() if execution_timeout else inf)
