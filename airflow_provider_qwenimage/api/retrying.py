"""When a call is sent again: one policy for all calls and both clients.

Only a ``TransientError`` is: reads cost nothing, and a create raises one only if nothing can have been bought.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from airflow_provider_qwenimage.api.errors import TransientError


@dataclass(frozen=True)
class Retries:
    """How often and how patiently.

    :param attempts: how many times a call is sent at most; 1 for no retry.
    :param first_wait: seconds that the first wait is drawn up to; it doubles with each attempt.
    :param longest_wait: seconds that no wait exceeds, not even one that ``Retry-After`` asks for.
    """

    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 60.0

    def tenacity(self) -> dict[str, Any]:
        """Return the arguments for ``tenacity.Retrying`` and ``AsyncRetrying``."""
        return {
            "retry": retry_if_exception_type(TransientError),
            "stop": stop_after_attempt(self.attempts),
            "wait": self._wait,
            "reraise": True,
        }

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None) or 0.0
        drawn: float = wait_random_exponential(multiplier=self.first_wait, max=self.longest_wait)(state)
        return min(max(asked, drawn), self.longest_wait)


NO_RETRIES = Retries(attempts=1)
