"""A retry policy for tasks of this provider, Airflow 3.3 and later: ``retry_policy=QwenImageRetryPolicy()``."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from airflow_provider_qwenimage._compat import AirflowException
from airflow_provider_qwenimage.api.errors import OverloadedError
from airflow_provider_qwenimage.exceptions import FINAL


class QwenImageRetryPolicy(RetryPolicy):
    """Waits as long as the service asks for when it is overloaded, and fails at once where a retry can't help.

    For functions that use a client (``QwenImageHook.get_conn()``), too: its errors are wrapped by nobody.
    """

    def evaluate(self, exception: BaseException, try_number: int, max_tries: int, context: Any = None) -> RetryDecision:
        """Decide about one failed try.

        :param exception: what the try ended in.
        """
        judged = isinstance(exception, AirflowException)  # by an operator: one that is final never comes here
        if isinstance(exception, FINAL) and not judged:
            return RetryDecision.fail(reason=f"{type(exception).__name__}: a retry can't help")
        if isinstance(exception, OverloadedError) and exception.retry_after:
            wait = timedelta(seconds=exception.retry_after)
            return RetryDecision.retry(delay=wait, reason=f"the service asks to wait {exception.retry_after:g} s")
        return RetryDecision.default()
