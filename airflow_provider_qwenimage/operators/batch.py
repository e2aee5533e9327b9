"""Thousands of images in one task."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage._compat import conf
from airflow_provider_qwenimage.api.rules import DEFAULT_MODEL_ID, MAX_UPLOAD_BYTES
from airflow_provider_qwenimage.batch.literals import check_literal, check_path
from airflow_provider_qwenimage.fields import (
    check_literals,
    check_output_path,
    in_seconds,
    is_literal,
    none_if_empty,
    number_or_none,
    raise_invalid,
    whole_number,
)
from airflow_provider_qwenimage.hooks import DEFAULT_TIMEOUT
from airflow_provider_qwenimage.links import IMAGES_LINKS
from airflow_provider_qwenimage.operators.submitting import UNKNOWN_SUBMIT, PayingOperator
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID
from airflow_provider_qwenimage.saving.names import check_file_name
from airflow_provider_qwenimage.waits import WaitingTask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_qwenimage._compat import Context, XComArg
    from airflow_provider_qwenimage.batch.run import BatchRun

CHOICES = {"on_unknown_submit": UNKNOWN_SUBMIT, "on_failure": ("fail", "keep"), "on_missing_images": ("fail", "keep")}
DEFAULTS = ("aspect_ratio", "num_outputs", "prompt_optimization", "model_id")
MOST_ACTIVE = 1000
CHECKED_WHEN_PARSED = 1000


class QwenImageBatchGenerateOperator(WaitingTask, PayingOperator):
    """Makes the images of many requests in one task: submits, waits and saves, ``max_active`` at a time. Returns the
    path of the manifest, a ``str``: JSON lines with ``key``, ``request``, ``generation_id``, ``images`` (the records of
    what was saved), ``outcome`` and ``error``, in the order of the requests.

    ``outcome`` is ``saved``; ``missing_images`` (fewer than asked for); ``failed`` (by the service); ``rejected`` (the
    service said no); ``unknown`` (it may have been bought); ``timeout``; ``not_saved`` (bought, but an image could not
    be fetched or stored); or ``not_submitted``.

    Each step is in a ledger in ``.qwenimage/`` below ``output_path`` before the next one: a retry, after whatever end,
    skips what is saved, goes on with what is bought, and buys the rest. A manual Clear buys everything anew, and so
    does the first try of a run that was deleted and made again.

    Also pushes the XComs ``summary`` (``asked``, ``bought`` in all tries of this run, ``saved``, ``failed``,
    ``seconds``) and ``images`` (the first 24 records). Deferrable and not, it gives the same results and errors.

    :param requests: a list of prompts, or of dicts with the request's fields (those of
        ``QwenImageCreateTaskOperator``, and ``image``: a URL or the path of a file that is uploaded) and a ``key`` of
        one's own, by which a retry knows a request (else it is the position, in a mapped task
        ``<map index>-<position>``); or the path of a ``.jsonl``, ``.ndjson`` or ``.csv`` file (UTF-8, the first row of
        a CSV names the fields) on any storage that ``ObjectStoragePath`` opens. All that is wrong with them is reported
        at once, before anything is sent.
    :param output_path: folder to save to: an absolute local path or a URL such as ``s3://my_aws_conn@bucket/images``.
    :param max_active: how many generations may be bought and not yet saved, 1 to 1000. Each wave of a deferrable batch
        starts a task that reads requests and ledger again: take some hundred there.
    :param aspect_ratio: for requests that do not say, like the three after it.
    :param num_outputs: how many images, 1 to 4.
    :param prompt_optimization: whether the service translates prompts into English.
    :param model_id: the service's name of the model.
    :param min_credits: fail before buying if the account has fewer credits; None for no check.
    :param qwenimage_conn_id: id of the connection.
    :param on_unknown_submit: what a retry does with a request of which it is not known whether it was bought: ``fail``
        leaves it, ``resubmit`` submits it again, which may pay twice.
    :param on_failure: ``fail`` the task when everything is done, or ``keep`` it green; it fails all the same if nothing
        at all was saved.
    :param on_missing_images: whether fewer images than asked for are a failure: ``fail`` or ``keep``.
    :param deduplicate: buy equal requests once; the others' lines in the manifest name the same images.
    :param resume_on_clear: go on after a manual Clear as after a failure, instead of buying everything anew; what was
        rejected is submitted again.
    :param file_name: template of the file names with ``{key}``, ``{generation_id}``, ``{index}`` (from 0), ``{ext}``
        (from the content) and ``{sha256}``; subfolders are allowed.
    :param manifest: path of the manifest; None for a name in ``output_path`` made of the ids of DAG, task and run.
        A mapped task puts ``-<map index>`` before its extension.
    :param sidecar: whether a JSON file with the image's record is stored beside each image.
    :param embed_metadata: whether prompt, model and generation id are written into the image as XMP.
    :param max_upload_bytes: longest input image that is accepted.
    :param deferrable: wait in the triggerer: submit ``max_active``, release the worker until they have all ended, save
        them, and so on.
    :param timeout: seconds, or a timedelta, that each generation may take from its submission, at most a year; also how
        long submissions that are refused (429, 503) are tried again without a single one being accepted.
    :param poll_interval: fixed seconds, or a timedelta, between polls; None for intervals that follow the service's
        estimate.
    :raises InvalidRequestError: requests or arguments can't be used; nothing was sent. Not retried by Airflow.
    :raises BatchError: not everything was saved; retried by Airflow if that could mend anything.
    """

    template_fields: Sequence[str] = (
        "requests",
        "output_path",
        "max_active",
        *DEFAULTS,
        "min_credits",
        "qwenimage_conn_id",
        "file_name",
        "manifest",
    )
    operator_extra_links = IMAGES_LINKS
    ui_color = "#e8e4fa"

    def __init__(
        self,
        *,
        requests: Sequence[str | Mapping[str, Any]] | str | XComArg,
        output_path: str | XComArg,
        max_active: int | str | XComArg = 16,
        aspect_ratio: str | XComArg | None = None,
        num_outputs: int | str | XComArg = 1,
        prompt_optimization: bool | str | XComArg = True,
        model_id: str | XComArg = DEFAULT_MODEL_ID,
        min_credits: float | str | XComArg | None = None,
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        on_unknown_submit: str = "fail",
        on_failure: str = "fail",
        on_missing_images: str = "fail",
        deduplicate: bool = False,
        resume_on_clear: bool = False,
        file_name: str = "{generation_id}_{index}.{ext}",
        manifest: str | XComArg | None = None,
        sidecar: bool = False,
        embed_metadata: bool = False,
        max_upload_bytes: int = MAX_UPLOAD_BYTES,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        poll_interval: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.requests = requests
        self.output_path = output_path
        self.max_active = max_active
        self.aspect_ratio = aspect_ratio
        self.num_outputs = num_outputs
        self.prompt_optimization = prompt_optimization
        self.model_id = model_id
        self.min_credits = min_credits
        self.qwenimage_conn_id = qwenimage_conn_id
        self.on_unknown_submit = on_unknown_submit
        self.on_failure = on_failure
        self.on_missing_images = on_missing_images
        self.deduplicate = deduplicate
        self.resume_on_clear = resume_on_clear
        self.file_name = file_name
        self.manifest = manifest
        self.sidecar = sidecar
        self.embed_metadata = embed_metadata
        self.max_upload_bytes = max_upload_bytes
        self.deferrable = deferrable
        self.timeout = in_seconds("timeout", timeout)
        self.poll_interval = None if poll_interval is None else in_seconds("poll_interval", poll_interval)
        self._run: BatchRun | None = None
        self._check_arguments()

    def execute(self, context: Context) -> str:
        """Submit, wait, save; see the class."""
        return self._go(context, resumed=False)

    def execute_complete(self, context: Context, event: Any = None) -> str:
        """Go on after the triggerer: save what is completed, and submit the next ones."""
        from airflow_provider_qwenimage.batch.trigger import summary_of

        self.log.info("The triggerer's wait ended: %s", summary_of(event))
        return self._go(context, resumed=True)

    def rescue(self, context: Context, *, out_of_time: bool) -> str:
        """Go on without the trigger: the ledger knows all."""
        return self._go(context, resumed=True)

    def on_kill(self) -> None:
        """Stop submitting and waiting at once; a retry goes on."""
        if self._run:
            self._run.stop()

    def _go(self, context: Context, *, resumed: bool) -> str:
        from airflow_provider_qwenimage.batch.run import BatchRun

        self._run = BatchRun(self, context, resumed=resumed)
        return self._run.go()

    def _check_arguments(self) -> None:
        check_literals(**{name: getattr(self, name) for name in DEFAULTS})
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise_invalid(f"{name} must be one of {', '.join(allowed)}.")
        if is_literal(self.min_credits):
            number_or_none("min_credits", self.min_credits)
        if is_literal(self.max_active):
            checked_number(self.max_active)
        if is_literal(self.file_name):
            check_file_name(self.file_name, keyed=True)
        if is_literal(self.output_path):
            check_output_path(self.output_path)
        if none_if_empty(self.manifest) is not None and is_literal(self.manifest):
            check_output_path(self.manifest, "manifest")
        self._check_requests()

    def _check_requests(self) -> None:
        """Check the first requests that are literals; the others, and templates, are checked when the task runs."""
        if isinstance(self.requests, str):
            if is_literal(self.requests) and not self.requests.lstrip().startswith("["):
                check_path(self.requests)
        elif isinstance(self.requests, (list, tuple)):
            for number, given in enumerate(self.requests[:CHECKED_WHEN_PARSED]):
                check_literal(number, given)


def checked_number(max_active: Any) -> int:
    """Return ``max_active``.

    :raises InvalidRequestError: it is no whole number in its range.
    """
    number = whole_number(max_active)
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= MOST_ACTIVE:
        raise_invalid(f"max_active must be a whole number from 1 to {MOST_ACTIVE}, not {max_active!r}.")
    return number
