"""Transfers: between the service and object storage."""

from airflow_provider_qwenimage.transfers.from_object_storage import ObjectStorageToQwenImageOperator
from airflow_provider_qwenimage.transfers.to_object_storage import QwenImageToObjectStorageOperator

__all__ = ["ObjectStorageToQwenImageOperator", "QwenImageToObjectStorageOperator"]
