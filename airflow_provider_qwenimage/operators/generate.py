"""From a prompt to saved images in one task."""

from __future__ import annotations

import time
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage import metrics
from airflow_provider_qwenimage._compat import conf, object_storage_path
from airflow_provider_qwenimage.api.errors import InvalidRequestError, InvalidSettingsError
from airflow_provider_qwenimage.api.rules import DEFAULT_MODEL_ID, MAX_UPLOAD_BYTES, is_http_url
from airflow_provider_qwenimage.exceptions import airflow_errors, unusable_settings
from airflow_provider_qwenimage.fields import (
    build_request,
    check_output_path,
    in_seconds,
    is_literal,
    is_of_another_task,
    none_if_empty,
    raise_invalid,
    the_one,
)
from airflow_provider_qwenimage.hooks import DEFAULT_TIMEOUT
from airflow_provider_qwenimage.lineage import tell_read
from airflow_provider_qwenimage.links import SAVED_LINKS, publish
from airflow_provider_qwenimage.operators.submitting import SUBMIT_FIELDS, SubmittingOperator
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID
from airflow_provider_qwenimage.saving.names import check_file_name
from airflow_provider_qwenimage.waits import WaitingTask, time_limit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_qwenimage._compat import Context, XComArg
    from airflow_provider_qwenimage.api.models import Generation, GenerationRequest
    from airflow_provider_qwenimage.api.waiting import Plan
    from airflow_provider_qwenimage.durable import Record

INPUT_IMAGE = ("image", "image_urls")
MISSING_IMAGES = ("fail", "keep")
SIGNED = {"image_urls"}  # URLs may be signed, and events are logged
STAND_IN = "https://example.invalid/uploaded-later"  # lets the rules see that there will be an image


class QwenImageGenerateOperator(WaitingTask, SubmittingOperator):
    """Submits a request, waits for the images and saves them. Returns a ``list[str]``: the saved paths if
    ``output_path`` is given, else the result URLs, which do not live for ever.

    A retry goes on with what an earlier try has bought, and a manual Clear makes a new image: on Airflow 3.3 and later
    always, on older ones if there is an ``output_path``.

    Pushes the XComs ``generation_id`` and ``estimated_time`` (seconds) before it waits, and ``images`` when it is done:
    a plain dict per image with ``path``, ``url``, ``index``, ``width`` and ``height`` (pixels), ``content_type``,
    ``bytes``, ``sha256``, ``prompt``, ``model_id``, ``generation_id`` and ``seconds`` (from submission to completion).
    Deferrable and not, it gives the same results and errors.

    The request's parameters are those of ``QwenImageCreateTaskOperator``, and:

    :param image: the image to start from, as a text or a list of one: an http(s) URL, or a JPEG or PNG at any path
        that ``ObjectStoragePath`` opens, which is uploaded first. Instead of ``image_urls``.
    :param output_path: folder to save to: an absolute local path or a URL such as ``s3://my_aws_conn@bucket/images``.
        Without a connection's id before the ``@``, the worker's environment has to give access: no default
        connection is used.
    :param file_name: template of the file names with ``{generation_id}``, ``{index}`` (from 0), ``{ext}`` (from the
        content) and ``{sha256}``; subfolders are allowed.
    :param on_missing_images: what to do when there are fewer images than asked for: ``fail`` (what there is, is saved
        first) or ``keep``. No image at all is always a failure.
    :param sidecar: whether a JSON file with the image's record is stored beside each image.
    :param embed_metadata: whether prompt, model and generation id are written into the image as XMP.
    :param max_upload_bytes: longest input image that is accepted.
    :param deferrable: wait in the triggerer, without a worker slot.
    :param timeout: seconds, or a timedelta, from submission until waiting ends.
    :param poll_interval: fixed seconds, or a timedelta, between polls; None for intervals that follow the service's
        estimate.
    :raises GenerationFailedError: the service gave up on the generation.
    :raises GenerationTimeoutError: the time is over.
    :raises MissingImagesError: there are fewer images than asked for.
    :raises ImageError: an image could not be fetched or is broken; the others were saved.
    """

    template_fields: Sequence[str] = (*SUBMIT_FIELDS, "image", "output_path", "file_name")
    operator_extra_links = SAVED_LINKS

    def __init__(
        self,
        *,
        prompt: str | XComArg,
        image_urls: Sequence[str] | str | XComArg | None = None,
        image: str | Sequence[str] | XComArg | None = None,
        aspect_ratio: str | XComArg | None = None,
        num_outputs: int | str | XComArg = 1,
        prompt_optimization: bool | str | XComArg = True,
        model_id: str | XComArg = DEFAULT_MODEL_ID,
        min_credits: float | str | XComArg | None = None,
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        on_unknown_submit: str = "fail",
        output_path: str | XComArg | None = None,
        file_name: str = "{generation_id}_{index}.{ext}",
        on_missing_images: str = "fail",
        sidecar: bool = False,
        embed_metadata: bool = False,
        max_upload_bytes: int = MAX_UPLOAD_BYTES,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        timeout: float | timedelta = DEFAULT_TIMEOUT,
        poll_interval: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            prompt=prompt,
            image_urls=image_urls,
            aspect_ratio=aspect_ratio,
            num_outputs=num_outputs,
            prompt_optimization=prompt_optimization,
            model_id=model_id,
            min_credits=min_credits,
            qwenimage_conn_id=qwenimage_conn_id,
            on_unknown_submit=on_unknown_submit,
            **kwargs,
        )
        self.image = image
        self.output_path = output_path
        self.file_name = file_name
        self.on_missing_images = on_missing_images
        self.sidecar = sidecar
        self.embed_metadata = embed_metadata
        self.max_upload_bytes = max_upload_bytes
        self.deferrable = deferrable
        self.timeout = in_seconds("timeout", timeout)
        self.poll_interval = None if poll_interval is None else in_seconds("poll_interval", poll_interval)
        if is_of_another_task(image):
            self._never_none.add("image")
        self._saves = output_path is not None
        self._check_arguments()

    def execute(self, context: Context) -> Any:
        """Submit, wait, save; see the class."""
        request, image = self._checked_request()
        asked = request.model_dump(exclude=SIGNED)
        record = self._bought(context, request, image)
        self.push(context, generation_id=record.generation_id, estimated_time=record.estimated_time)
        given = {name: getattr(self, name) for name in INPUT_IMAGE}
        self.push(context, submission={**asked, **given, "submitted_at": record.submitted_at})
        plan = self._plan(str(record.generation_id), float(record.submitted_at or 0), record.estimated_time)
        generation = self.wait_deferred(plan, asked) if self.deferrable else self.wait_here(plan)
        return self._finish(context, asked, generation, plan.submitted_at)

    def execute_complete(self, context: Context, event: Any = None) -> list[str]:
        """Go on after the triggerer: fetch the result and save it."""
        from airflow_provider_qwenimage.triggers import WaitEvent

        told = WaitEvent.read(event)
        asked = told.resume or {}
        self.restore(context, asked)
        generation = self.wait_resumed(told, self.poll_interval)
        return self._finish(context, asked, generation, told.submitted_at)

    def rescue(self, context: Context, *, out_of_time: bool) -> list[str] | None:
        """Go on, on this worker, with what this try has bought: its XComs are kept while it is deferred."""
        from airflow_provider_qwenimage.durable import marker_of, store_for

        ti = context["ti"]
        mine: dict[str, Any] = {"task_ids": self.task_id, "map_indexes": ti.map_index}
        asked = ti.xcom_pull(key="submission", **mine) or self._asked()
        found = store_for(context, none_if_empty(self.output_path)).load()
        if found and found.marker == marker_of(context) and found.generation_id:
            generation_id, submitted_at = found.generation_id, found.submitted_at
        else:
            generation_id, submitted_at = ti.xcom_pull(key="generation_id", **mine), asked.get("submitted_at")
        if not generation_id:
            return None
        self.restore(context, asked)
        submitted_at = submitted_at or time.time()
        plan = self._plan(generation_id, submitted_at, tried_at=submitted_at)
        return self._finish(context, asked, self.wait_here(plan), plan.submitted_at)

    def restore(self, context: Context, asked: Mapping[str, Any]) -> None:
        """Take the request up again after a deferral: what is new in this process, or read in another one, is told."""
        image = the_one("image", self.image)
        if image is not None and not is_http_url(image):
            tell_read(image)

    def _checked_request(self) -> tuple[GenerationRequest, str | None]:
        """Check all arguments before anything is sent; return the request, and the input image if it is a file."""
        self.check_not_none()
        fields = self.request_fields()
        image = the_one("image", self.image)
        _check_one_image(image, none_if_empty(fields["image_urls"]))
        if image is not None:
            fields["image_urls"] = image if is_http_url(image) else STAND_IN
        request = build_request(**fields)
        # One that was given and renders to nothing is refused: images would be lost on a green task.
        if self._saves or none_if_empty(self.output_path) is not None:
            check_output_path(self.output_path)
            check_file_name(self.file_name, request.num_outputs)
        return request, None if is_http_url(image) else image

    def _asked(self) -> dict[str, Any]:
        """Return what is asked for by the arguments as they are now, if they say: a task may push no XComs."""
        try:
            return self._checked_request()[0].model_dump(exclude=SIGNED)
        except InvalidRequestError:  # the prompt came from a function
            return {}

    def _bought(self, context: Context, request: GenerationRequest, image: str | None) -> Record:
        """Return the generation of an earlier try, or upload the input image and buy one."""
        purchase = self.purchase(context, {**request.payload(), "image": image}, none_if_empty(self.output_path))
        record = purchase.of_earlier_try()
        if record is None:
            if image is not None:  # first of all, since a file that can't be used must be found before any request
                url = self.hook.upload_image(image, max_bytes=self.max_upload_bytes)
                request = request.model_copy(update={"image_urls": (url,)})
            self.check_credits()
            record = purchase.make(request)
        elif image is not None:
            tell_read(image)
        return record

    def _plan(
        self,
        generation_id: str,
        submitted_at: float,
        estimated_time: float | None = None,
        *,
        tried_at: float | None = None,
    ) -> Plan:
        """Bound the wait: ``timeout`` runs from submission, over all tries, and ``execution_timeout`` for each try."""
        from airflow_provider_qwenimage.api.waiting import Plan

        tried_at = time.time() if tried_at is None else tried_at
        deadline = min(submitted_at + self.timeout, tried_at + time_limit(inf, self.execution_timeout))
        return Plan(generation_id, submitted_at, deadline, estimated_time, self.poll_interval)

    def _finish(
        self, context: Context, asked: Mapping[str, Any], generation: Generation, submitted_at: float
    ) -> list[str]:
        self.finished_generation = generation.generation_id
        seconds = round(time.time() - submitted_at, 1)
        metrics.timing("generation_seconds", seconds)
        publish(self, context, generation.result_urls[0])
        facts = {name: asked.get(name) for name in ("prompt", "model_id")}
        facts |= {"seconds": seconds, "generation_id": generation.generation_id}
        try:
            records = self._delivered(context, generation, facts)
        except InvalidSettingsError as error:  # the certificates of this worker, say
            raise unusable_settings(error, generation.generation_id) from error.__cause__
        self._check_count(len(records), asked.get("num_outputs", 1), generation.generation_id)
        metrics.count("succeeded")
        return [record["path"] or record["url"] for record in records]

    def _delivered(self, context: Context, generation: Generation, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
        from airflow_provider_qwenimage.api.download import Downloader
        from airflow_provider_qwenimage.saving.images import Delivery, deliver, not_saved
        from airflow_provider_qwenimage.saving.names import file_safe

        output_path = none_if_empty(self.output_path)
        if output_path is None:
            return not_saved(self, context, generation.result_urls, generation.generation_id, facts)
        delivery = Delivery(
            folder=object_storage_path(check_output_path(output_path)),
            file_name=self.file_name,
            generation_id=file_safe(generation.generation_id),
            facts=facts,
            sidecar=self.sidecar,
            embed_metadata=self.embed_metadata,
        )
        downloader = Downloader(public_only=not self.hook.is_private_service())
        return deliver(self, context, generation.result_urls, delivery, downloader)

    def _check_count(self, found: int, wanted: int, generation_id: str) -> None:
        from airflow_provider_qwenimage.api.errors import MissingImagesError

        if found < wanted and self.on_missing_images == "fail":
            with airflow_errors():
                raise MissingImagesError(
                    f"Generation {generation_id} has {found} of {wanted} images.", generation_id=generation_id
                )

    def _check_arguments(self) -> None:
        if self.on_missing_images not in MISSING_IMAGES:
            raise_invalid(f"on_missing_images must be one of {', '.join(MISSING_IMAGES)}.")
        image, aspect_ratio = none_if_empty(self.image), none_if_empty(self.aspect_ratio)
        if is_literal(image) and is_literal(self.image_urls):
            _check_one_image(image, none_if_empty(self.image_urls))
        if image is not None and is_literal(aspect_ratio) and aspect_ratio is not None:
            raise_invalid("aspect_ratio is for text-to-image only: leave it out when image is given.")
        if self.output_path is not None and is_literal(self.output_path):
            check_output_path(self.output_path)
        if is_literal(self.file_name):
            check_file_name(self.file_name)


def _check_one_image(image: Any, image_urls: Any) -> None:
    if image is not None and image_urls is not None:
        raise_invalid("image and image_urls are two ways to give one image: leave one of them out.")
