"""Submits a request and leaves the waiting to others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_qwenimage.fields import build_request
from airflow_provider_qwenimage.operators.submitting import SubmittingOperator

if TYPE_CHECKING:
    from airflow_provider_qwenimage._compat import Context


class QwenImageCreateTaskOperator(SubmittingOperator):
    """Submits one request for images and returns the generation id, a ``str``, as its XCom.

    Does not wait: give the id to ``QwenImageTaskSensor``. Also pushes the service's estimate in seconds as the XCom
    ``estimated_time``. All arguments are templated and can be mapped. A wrong literal fails when the DAG is parsed, a
    wrong rendered value before anything is sent. The request is sent again by itself only where nothing can have been
    bought. On Airflow 3.3 and later a retry finds what an earlier try has bought, and a manual Clear buys anew.

    :param prompt: what to draw, in any language.
    :param image_urls: the public http(s) URL of one image to start from, as a text or a list of one; None for
        text-to-image.
    :param aspect_ratio: ``3:4``, ``9:16``, ``4:3`` or ``16:9``, for text-to-image only; None means ``16:9`` there.
    :param num_outputs: how many images, 1 to 4.
    :param prompt_optimization: whether the service translates the prompt into English.
    :param model_id: the service's name of the model.
    :param min_credits: fail before buying if the account has fewer credits; None for no check.
    :param qwenimage_conn_id: id of the connection.
    :param on_unknown_submit: what to do when it is not known whether a submission went through (its answer was lost, or
        the worker died over it): ``fail`` for good, or let Airflow's retry ``resubmit``, which may pay twice.
    :raises InvalidRequestError: an argument breaks a rule of the service; nothing was sent. Not retried by Airflow.
    :raises RejectedError: the service said no: wrong key, too few credits, bad image. Not retried by Airflow.
    :raises UnknownOutcomeError: the answer was lost, it may have been charged. Not retried by Airflow.
    :raises TransientError: nothing was bought; retried by Airflow if the task has retries left.
    """

    def execute(self, context: Context) -> str:
        """Submit; see the class."""
        self.check_not_none()
        request = build_request(**self.request_fields())
        purchase = self.purchase(context, request.payload())
        record = purchase.of_earlier_try()
        if record is None:
            self.check_credits()
            record = purchase.make(request)
        self.finished_generation = record.generation_id
        self.push(context, estimated_time=record.estimated_time)
        return str(record.generation_id)
