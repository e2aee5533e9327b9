"""The hook: from an Airflow connection to the service."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage._compat import AirflowNotFoundException, BaseHook, object_storage_path
from airflow_provider_qwenimage.api.rules import MAX_UPLOAD_BYTES
from airflow_provider_qwenimage.exceptions import airflow_errors
from airflow_provider_qwenimage.provider_info import (
    CONN_TYPE,
    DEFAULT_CONN_ID,
    EXTRA_FIELDS,
    HIDDEN_FIELDS,
    HOOK_NAME,
    PLACEHOLDERS,
    RELABELING,
)

if TYPE_CHECKING:
    from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient
    from airflow_provider_qwenimage.api.client import QwenImageClient
    from airflow_provider_qwenimage.api.models import Generation, GenerationRequest, Submission
    from airflow_provider_qwenimage.api.retrying import Retries
    from airflow_provider_qwenimage.api.settings import Settings

DEFAULT_TIMEOUT = 3600.0  # seconds


class QwenImageHook(BaseHook):
    """Talks to Qwen Image with the address and API key of an Airflow connection.

    The connection is looked up at the first call, not when the hook is made. Errors are Airflow exceptions: final ones
    (wrong key, too few credits, bad input, unknown outcome) are not retried by Airflow, others are.

    :param qwenimage_conn_id: id of a connection of type ``qwenimage``.
    """

    conn_name_attr = "qwenimage_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONN_TYPE
    hook_name = HOOK_NAME

    def __init__(self, qwenimage_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.qwenimage_conn_id = qwenimage_conn_id
        self._client: QwenImageClient | None = None

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields, for Airflow 2.11 to 3.1."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
        from flask_babel import lazy_gettext
        from wtforms import IntegerField
        from wtforms.validators import Optional

        return {
            name: IntegerField(
                lazy_gettext(label),
                widget=BS3TextFieldWidget(),
                validators=[Optional()],
                default=default,
                description=description,
            )
            for name, (label, default, description) in EXTRA_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return how the form's own fields look, for Airflow 2.11 to 3.1."""
        return {"hidden_fields": HIDDEN_FIELDS, "relabeling": RELABELING, "placeholders": PLACEHOLDERS}

    def get_conn(self) -> QwenImageClient:
        """Return the client, made once; its methods raise the plain errors of ``api.errors``.

        :raises InvalidSettingsError: the connection lacks a key or holds something unusable.
        """
        if self._client is None:
            from airflow_provider_qwenimage.api.client import QwenImageClient

            self._client = QwenImageClient(self.get_settings())
        return self._client

    def get_async_conn(self, retries: Retries | None = None) -> AsyncQwenImageClient:
        """Return a client for an event loop. Looks the connection up and reads certificates: call it off the loop.

        :param retries: when its calls are sent again; None for the default.
        """
        from airflow_provider_qwenimage.api.async_client import AsyncQwenImageClient

        return AsyncQwenImageClient(self.get_settings(), retries=retries)

    def get_settings(self) -> Settings:
        """Return what the connection says: address, key, time-outs.

        :raises InvalidSettingsError: it lacks a key or holds something unusable.
        """
        from airflow_provider_qwenimage.connection import settings_of

        with airflow_errors():
            return settings_of(self.get_connection(self.qwenimage_conn_id))

    def is_private_service(self) -> bool:
        """Tell whether the service itself is at a private address, as an emulator is: only then results may be.

        Without such a connection it is not: saving result URLs needs none.
        """
        from airflow_provider_qwenimage.api.hosts import is_private
        from airflow_provider_qwenimage.connection import base_url_of

        try:
            return is_private(base_url_of(self.get_connection(self.qwenimage_conn_id)))
        except AirflowNotFoundException:
            return False

    def create_task(self, request: GenerationRequest) -> Submission:
        """Buy a generation: sent again by itself only where nothing can have been bought.

        :param request: what to draw.
        :return: ``generation_id``, and ``estimated_time`` in seconds or None.
        :raises UnknownOutcomeError: the answer was lost, it may have been charged; not retried by Airflow.
        """
        with airflow_errors():
            return self.get_conn().create_task(request)

    def get_task(self, generation_id: str) -> Generation:
        """Ask how far a generation is; costs nothing.

        :return: ``status`` and, once it is completed, ``result_urls``.
        """
        with airflow_errors():
            return self.get_conn().get_task(generation_id)

    def get_credits(self) -> float:
        """Ask for the account's balance in credits; costs nothing."""
        with airflow_errors():
            return self.get_conn().get_credits()

    def upload_image(self, path: str, *, max_bytes: int = MAX_UPLOAD_BYTES) -> str:
        """Upload an input image; costs nothing.

        :param path: a JPEG or PNG at any place that Airflow's ``ObjectStoragePath`` opens.
        :param max_bytes: longest file that is accepted; the service's own limit is published as 10 MB.
        :return: its public URL, for ``image_urls``.
        :raises InvalidRequestError: it is no whole JPEG or PNG, or too long; nothing was sent.
        """
        from airflow_provider_qwenimage.lineage import tell_read

        place = object_storage_path(path)
        with airflow_errors(), place.fs.open(place.path, "rb") as file:
            tell_read(path)
            return self.get_conn().upload_image(file, max_bytes=max_bytes)

    def wait_for_task(
        self,
        generation_id: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        submitted_at: float | None = None,
        estimated_time: float | None = None,
        poll_interval: float | None = None,
        stop: threading.Event | None = None,
    ) -> Generation:
        """Wait on this worker until a generation is completed. Failed polls are tolerated until the time is over.

        :param generation_id: what to wait for.
        :param timeout: seconds from submission after which to give up; one last poll is made then.
        :param submitted_at: when it was submitted, epoch seconds; None for now.
        :param estimated_time: the service's estimate, seconds from submission.
        :param poll_interval: fixed seconds between polls; None to poll where generations tend to end.
        :param stop: set it from another thread or a signal handler to end the wait at once.
        :return: the completed generation, with ``result_urls``.
        :raises GenerationFailedError: the service gave up on it.
        :raises GenerationTimeoutError: the time is over, or ``stop`` was set.
        """
        from airflow_provider_qwenimage.api.waiting import Plan
        from airflow_provider_qwenimage.worker_wait import wait

        start = time.time() if submitted_at is None else submitted_at
        plan = Plan(generation_id, start, start + timeout, estimated_time, poll_interval)
        with airflow_errors():
            return wait(self.get_settings(), plan, stop or threading.Event(), self.log)

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the service answers with this key, by asking for the balance: costs no credits."""
        from airflow_provider_qwenimage.api.errors import QwenImageError, UnexpectedReplyError

        try:
            balance = self.get_conn().get_credits()
        except UnexpectedReplyError as error:
            return False, f"{self.get_conn().settings.host} answers, but not as the Qwen Image service does. {error}"
        except QwenImageError as error:
            return False, str(error)
        return True, f"The service answers and accepts the API key; the account has {balance:g} credits."
