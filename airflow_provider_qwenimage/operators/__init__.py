"""Operators: what is submitted from a DAG."""

from airflow_provider_qwenimage.operators.batch import QwenImageBatchGenerateOperator
from airflow_provider_qwenimage.operators.create import QwenImageCreateTaskOperator
from airflow_provider_qwenimage.operators.generate import QwenImageGenerateOperator

__all__ = ["QwenImageBatchGenerateOperator", "QwenImageCreateTaskOperator", "QwenImageGenerateOperator"]
