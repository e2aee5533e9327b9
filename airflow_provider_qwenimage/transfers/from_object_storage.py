"""Uploads an input image from object storage to the service."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage._compat import BaseOperator
from airflow_provider_qwenimage.api.rules import MAX_UPLOAD_BYTES
from airflow_provider_qwenimage.fields import required_text
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_qwenimage._compat import Context, XComArg


class ObjectStorageToQwenImageOperator(BaseOperator):
    """Uploads a JPEG or PNG and returns its public URL, a ``str``, for ``image_urls``. Costs no credits.

    The image is judged by its content, before any request. How long the service keeps it is not published.

    :param image_path: the image, at any place that Airflow's ``ObjectStoragePath`` opens: an absolute local path or a
        URL such as ``s3://my_aws_conn@bucket/in/photo.jpg``.
    :param max_bytes: longest image that is accepted; the service's own limit is published as 10 MB.
    :param qwenimage_conn_id: id of the connection.
    :raises InvalidRequestError: it is no whole JPEG or PNG, or too long; nothing was sent. Not retried by Airflow.
    :raises UploadError: the service's storage did not take it.
    """

    template_fields: Sequence[str] = ("image_path", "qwenimage_conn_id")
    ui_color = "#e8e4fa"

    def __init__(
        self,
        *,
        image_path: str | XComArg,
        max_bytes: int = MAX_UPLOAD_BYTES,
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image_path = image_path
        self.max_bytes = max_bytes
        self.qwenimage_conn_id = qwenimage_conn_id

    @cached_property
    def hook(self) -> QwenImageHook:
        """The hook of this operator's connection."""
        return QwenImageHook(self.qwenimage_conn_id)

    def execute(self, context: Context) -> str:
        """Upload; see the class."""
        path = required_text("image_path", str(self.image_path))
        url = self.hook.upload_image(path, max_bytes=self.max_bytes)
        self.log.info("Uploaded %s", path)
        return url
