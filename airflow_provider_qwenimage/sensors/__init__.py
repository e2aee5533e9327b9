"""Sensors: what is waited for."""

from airflow_provider_qwenimage.sensors.credits import QwenImageCreditsSensor
from airflow_provider_qwenimage.sensors.task import QwenImageTaskSensor

__all__ = ["QwenImageCreditsSensor", "QwenImageTaskSensor"]
