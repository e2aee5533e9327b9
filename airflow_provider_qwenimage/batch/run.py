"""One run of one try: what the operator does on the worker, from its arguments to the manifest, or to a deferral."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_qwenimage import waits
from airflow_provider_qwenimage._compat import object_storage_path
from airflow_provider_qwenimage.api.errors import InvalidSettingsError
from airflow_provider_qwenimage.batch.index import BUY, Index
from airflow_provider_qwenimage.batch.items import ItemMaker
from airflow_provider_qwenimage.batch.job import Job
from airflow_provider_qwenimage.batch.ledger import Identity, Ledger
from airflow_provider_qwenimage.batch.loading import load, rows
from airflow_provider_qwenimage.batch.manifest import default_name, first_images, one_s_own, write_manifest
from airflow_provider_qwenimage.batch.pipeline import Limits, Pipeline
from airflow_provider_qwenimage.batch.report import (
    failure,
    goes_on,
    stopped,
    summary,
    unusable_connection,
)
from airflow_provider_qwenimage.batch.resuming import Rules
from airflow_provider_qwenimage.batch.running import LoopThread, Stopped
from airflow_provider_qwenimage.batch.trigger import QwenImageBatchTrigger
from airflow_provider_qwenimage.durable import marker_of
from airflow_provider_qwenimage.fields import check_output_path, none_if_empty, text_list
from airflow_provider_qwenimage.lineage import tell_read
from airflow_provider_qwenimage.operators.batch import DEFAULTS, checked_number
from airflow_provider_qwenimage.outlets import tell_outlets
from airflow_provider_qwenimage.saving.images import Delivery
from airflow_provider_qwenimage.saving.names import check_file_name
from airflow_provider_qwenimage.saving.storage import tell_lineage

if TYPE_CHECKING:
    from airflow_provider_qwenimage.operators.batch import QwenImageBatchGenerateOperator

IMAGES_SHOWN = 24


class BatchRun:
    """What an operator does when Airflow calls it.

    :param operator: holds the rendered arguments.
    :param context: of Airflow.
    :param resumed: whether a deferral has just ended.
    """

    def __init__(self, operator: QwenImageBatchGenerateOperator, context: Any, *, resumed: bool) -> None:
        ti = context["ti"]
        task = tuple(map(str, (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)))
        self._operator = operator
        self._context = context
        self._resumed = resumed
        self._rules = Rules(operator.on_unknown_submit == "resubmit", operator.on_missing_images == "keep")
        self._identity = Identity(task, ti.try_number, marker_of(context))
        self._folder = object_storage_path(check_output_path(none_if_empty(operator.output_path)))
        self._manifest = self._manifest_path()
        self._thread: LoopThread[None] = LoopThread()

    def go(self) -> str:
        """Return the path of the manifest, or defer.

        :raises InvalidRequestError: requests or arguments can't be used; nothing was sent.
        :raises BatchError: not everything was saved.
        :raises InvalidSettingsError: the connection can't be used. Retried by Airflow if something is bought.
        """
        with Index() as index:
            leaning = self._load(index)
            ledger = Ledger(self._folder, self._identity, index, keep_on_clear=self._operator.resume_on_clear)
            try:
                ledger.take_over(resumed=self._resumed)
                self._make(index, ledger)
            except InvalidSettingsError as error:
                raise unusable_connection(error, index.bought(ledger.marker)) from error.__cause__
            finally:
                self._close(ledger)
            return self._finish(index, ledger, leaning)

    def stop(self) -> None:
        """End at once; the ledger keeps what is bought. May be called from a signal handler."""
        self._thread.stop()

    def _load(self, index: Index) -> int | None:
        """Take up the requests; return how many share another's purchase, or None if they are not to."""
        operator = self._operator
        defaults = {name: none_if_empty(getattr(operator, name)) for name in DEFAULTS}
        with rows(operator.requests) as found:
            load(index, found, ItemMaker(defaults, operator.qwenimage_conn_id, self._key_prefix()))
        check_file_name(operator.file_name, index.most_images(), keyed=True)
        return index.share_equal() if operator.deduplicate else None

    def _make(self, index: Index, ledger: Ledger) -> None:
        """Bring all items to their end, or defer."""
        operator = self._operator
        job = self._prepare(index, ledger)
        job.plan()
        # Once for all: a later try may have fewer, since the earlier ones have spent some of them.
        if index.number_to_do(BUY) and not index.bought(ledger.marker) and not self._resumed:
            operator.check_credits()
        steps = partial(job.waves, shortest=waits.SHORTEST_DEFERRAL, resumed=self._resumed)
        try:
            job.run(steps if operator.deferrable else Pipeline.run)
        except Stopped:
            raise stopped(len(index.in_flight(ledger.marker))) from None
        except BaseException:  # execution_timeout, for one
            operator.log.warning("The batch broke off. %s", goes_on(len(index.in_flight(ledger.marker))))
            raise
        if operator.deferrable and job.in_flight():
            self._defer(job)

    def _prepare(self, index: Index, ledger: Ledger) -> Job:
        operator = self._operator
        seconds = operator.execution_timeout.total_seconds() if operator.execution_timeout else inf
        latest = (ledger.started.try_at or time.time()) + seconds
        return Job(
            index=index,
            ledger=ledger,
            settings=operator.hook.get_settings(),
            public_only=not operator.hook.is_private_service(),
            delivery=Delivery(
                self._folder,
                operator.file_name,
                "",
                sidecar=operator.sidecar,
                embed_metadata=operator.embed_metadata,
            ),
            limits=Limits(checked_number(operator.max_active), operator.timeout, latest, operator.poll_interval),
            rules=self._rules,
            max_upload_bytes=operator.max_upload_bytes,
            log=operator.log,
            thread=self._thread,
        )

    def _defer(self, job: Job) -> NoReturn:
        plans, now = job.in_flight(), time.time()
        generations = [[plan.generation_id, plan.submitted_at, plan.deadline, plan.estimated_time] for plan in plans]
        operator = self._operator
        trigger = QwenImageBatchTrigger(
            generations, operator.qwenimage_conn_id, operator.poll_interval, waits.SHORTEST_DEFERRAL
        )
        longest = max(plan.deadline for plan in plans) - now
        operator.log.info("Waiting for %d generations in the triggerer", len(plans))
        backstop = timedelta(seconds=max(0.0, longest) + waits.BACKSTOP)
        operator.defer(trigger=trigger, method_name="execute_complete", timeout=backstop)

    def _finish(self, index: Index, ledger: Ledger, leaning: int | None) -> str:
        operator, path = self._operator, str(self._manifest)
        write_manifest(index, ledger.marker, self._manifest)
        told = summary(index, ledger, self._rules.good, leaning)
        operator.log.info("Of %(asked)d asked for %(saved)d are saved; bought %(bought)d in %(seconds).0f s", told)
        operator.push(self._context, summary=told, images=first_images(index, ledger.marker, IMAGES_SHOWN))
        self._tell_lineage()
        error = failure(index, self._rules.good, path, told["bought"])
        if error and (operator.on_failure == "fail" or not told["saved"]):
            raise error
        if error:
            operator.log.warning("%s", error.message)
        tell_outlets(operator, self._context, str(self._folder), {"manifest": path, "saved": told["saved"]})
        return path

    def _tell_lineage(self) -> None:
        """Tell where all came from and went to: not each image, an event can't bear a hundred thousand of them."""
        requests = text_list(self._operator.requests)
        if isinstance(requests, str):
            tell_read(requests)
        for place in (self._manifest, self._folder):
            tell_lineage(place)

    def _manifest_path(self) -> Any:
        named = none_if_empty(self._operator.manifest)
        if named is None:
            return self._folder / default_name(self._identity)
        path, mapped = check_output_path(named, "manifest"), self._identity.map_index
        return object_storage_path(path if mapped is None else one_s_own(path, mapped))

    def _key_prefix(self) -> str:
        mapped = self._identity.map_index  # each mapped batch has a position 0
        return "" if mapped is None else f"{mapped}-"

    def _close(self, ledger: Ledger) -> None:
        """Let go of the ledger; a failure changes nothing about how this try ends, which may be a deferral."""
        try:
            ledger.close()
        except Exception:
            self._operator.log.warning("The ledger was not closed; the next try waits a moment", exc_info=True)
