"""Saves result images to object storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_qwenimage._compat import BaseOperator, object_storage_path
from airflow_provider_qwenimage.fields import check_output_path, is_literal, none_if_empty, raise_invalid, text_list
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.links import SAVED_LINKS, publish
from airflow_provider_qwenimage.provider_info import DEFAULT_CONN_ID
from airflow_provider_qwenimage.saving.names import check_file_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_qwenimage._compat import Context, XComArg


class QwenImageToObjectStorageOperator(BaseOperator):
    """Saves the images behind result URLs and returns their paths, a ``list[str]``.

    Each image is fetched to the worker, checked to be a whole image, named after what it really is and
    then stored in one step. Names are deterministic: a retry overwrites its own files. No API key is used or sent.
    Also pushes the XCom ``images``: a plain dict per image with ``path``, ``url``, ``index``, ``generation_id``,
    ``width``, ``height``, ``content_type``, ``bytes`` and ``sha256``.

    :param result_urls: what ``QwenImageTaskSensor`` returned; used unchanged.
    :param output_path: folder on any storage that Airflow's ``ObjectStoragePath`` opens: an absolute local path or
        a URL such as ``s3://my_aws_conn@bucket/images``.
    :param file_name: template of the file names with ``{generation_id}``, ``{index}`` (from 0), ``{ext}`` (from the
        content) and ``{sha256}``; subfolders are allowed.
    :param generation_id: fills ``{generation_id}``; None takes it from the URLs.
    :param max_bytes: longest image that is accepted, bytes.
    :param qwenimage_conn_id: id of the connection, which need not exist: images at private addresses are fetched only
        if its base URL is at one itself. Its key is not used.
    :raises ImageError: an image could not be fetched or is broken; the others were saved. Costs nothing to try again.
    """

    template_fields: Sequence[str] = ("result_urls", "output_path", "file_name", "generation_id", "qwenimage_conn_id")
    operator_extra_links = SAVED_LINKS
    ui_color = "#e8e4fa"

    def __init__(
        self,
        *,
        result_urls: Sequence[str] | str | XComArg,
        output_path: str | XComArg,
        file_name: str = "{generation_id}_{index}.{ext}",
        generation_id: str | XComArg | None = None,
        max_bytes: int = 256 * 1024 * 1024,
        qwenimage_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.result_urls = result_urls
        self.output_path = output_path
        self.file_name = file_name
        self.generation_id = generation_id
        self.max_bytes = max_bytes
        self.qwenimage_conn_id = qwenimage_conn_id
        if is_literal(output_path):
            check_output_path(output_path)
        if is_literal(file_name):
            check_file_name(file_name)

    def execute(self, context: Context) -> list[str]:
        """Save; see the class."""
        from airflow_provider_qwenimage.api.download import Downloader
        from airflow_provider_qwenimage.saving.images import Delivery, deliver
        from airflow_provider_qwenimage.saving.names import generation_of

        urls = _checked_urls(self.result_urls)
        check_file_name(self.file_name, len(urls))
        delivery = Delivery(
            folder=object_storage_path(check_output_path(self.output_path)),
            file_name=self.file_name,
            generation_id=none_if_empty(self.generation_id) or generation_of(urls),
        )
        downloader = Downloader(
            max_bytes=self.max_bytes, public_only=not QwenImageHook(self.qwenimage_conn_id).is_private_service()
        )
        publish(self, context, urls[0])
        return [record["path"] for record in deliver(self, context, urls, delivery, downloader)]


def _checked_urls(value: Any) -> list[str]:
    from airflow_provider_qwenimage.api.downloading import shown
    from airflow_provider_qwenimage.api.rules import is_http_url, short

    urls = text_list(value)
    urls = [urls] if isinstance(urls, str) else urls
    if not isinstance(urls, (list, tuple)) or not urls:
        raise_invalid(f"result_urls must be a list of at least one URL, not {short(urls)}.")
    for url in urls:
        if not is_http_url(url):
            raise_invalid(f"result_urls must hold http:// or https:// URLs, not {shown(str(url))[:80]!r}.")
    return list(urls)
