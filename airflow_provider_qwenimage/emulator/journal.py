"""What has happened, counted and as a log."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from airflow_provider_qwenimage.emulator.contract import Refusal

ENDPOINTS = ("create", "get", "get_credits", "pre_url", "upload", "image", "other")
TOTALS = ("bought", "refused", "images_served", "uploads", "faults_used")


class Journal:
    """
    Counts of everything, and the latest requests and violations.

    :param limit: entries kept of each
    """

    def __init__(self, limit: int) -> None:
        self.requests: deque[dict[str, Any]] = deque(maxlen=limit)
        self.violations: deque[dict[str, str]] = deque(maxlen=limit)
        self.endpoints: Counter[str] = Counter(dict.fromkeys(ENDPOINTS, 0))
        self.totals: Counter[str] = Counter(dict.fromkeys(TOTALS, 0))

    def record(self, endpoint: str, time: float, entry: Mapping[str, Any]) -> None:
        """Count a request and put it into the log."""
        self.endpoints[endpoint] += 1
        self.requests.append({"endpoint": endpoint, "time": time, **entry})

    def refused(self, endpoint: str, refusal: Refusal) -> None:
        """Count a refusal, and remember it if the contract was broken."""
        self.totals["refused"] += 1
        if refusal.violation:
            self.violations.append({"endpoint": endpoint, "message": refusal.message})
