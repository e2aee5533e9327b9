"""How one emulator behaves: every choice that the contract leaves open is an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DEFAULT_API_KEY = "key_5f1c0e7ab3924d68a1d7c2f4908be36d"


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    What an emulator is started with.

    :param api_key: key of the account that exists from the start
    :param credits: its balance
    :param price: credits per image (the real price is not published)
    :param estimated_time: seconds announced for a generation, an int >= 1
    :param duration: seconds that a generation really takes, as a number or as (low, high);
        None draws it around ``estimated_time``
    :param spread: how far it is drawn around ``estimated_time``: 0.2 is 20 % less to 20 % more
    :param image_size: pixels on an image's long side
    :param image_format: format of the results
    :param signed_urls: whether result URLs carry a signature, without which the image host answers 403
    :param result_lifetime: seconds after which a signed result URL has expired
    :param http_errors: refusals answer 400, 401, 402 or 404 rather than 200
    :param charge: when credits are taken
    :param refund_failed: whether a failed generation's credits are given back
    :param pending_urls: what ``result_urls`` is while there are none
    :param max_generations: generations remembered; the oldest finished ones go first
    :param max_entries: entries remembered in the request log, of violations, and of upload forms
    :param max_bytes: bytes remembered of each of uploads, source pictures and drawn images
    :raises ValueError: an option is out of range; the message names it
    """

    api_key: str = DEFAULT_API_KEY
    credits: int = 500
    price: int = 1
    estimated_time: int = 15
    duration: float | tuple[float, float] | None = None
    spread: float = 0.2
    image_size: int = 1024
    image_format: Literal["jpeg", "png"] = "jpeg"
    signed_urls: bool = True
    result_lifetime: int = 86_400
    http_errors: bool = False
    charge: Literal["create", "completion"] = "create"
    refund_failed: bool = False
    pending_urls: Literal["absent", "null", "empty"] = "absent"
    max_generations: int = 20_000
    max_entries: int = 2_000
    max_bytes: int = 64_000_000

    def __post_init__(self) -> None:
        low, high = self.duration_range
        rules = {
            "api_key must not be empty": bool(self.api_key),
            "credits must be 0 or more": self.credits >= 0,
            "price must be 0 or more": self.price >= 0,
            "estimated_time must be a whole number of seconds, 1 or more": (
                type(self.estimated_time) is int and self.estimated_time >= 1
            ),
            "duration must be 0 or more, as a number or as (low, high)": 0 <= low <= high,
            "spread must be from 0 to 1": 0 <= self.spread <= 1,
            "image_size must be from 16 to 4096 pixels": 16 <= self.image_size <= 4096,
            "image_format must be jpeg or png": self.image_format in {"jpeg", "png"},
            "charge must be create or completion": self.charge in {"create", "completion"},
            "pending_urls must be absent, null or empty": self.pending_urls in {"absent", "null", "empty"},
            "result_lifetime must be 1 second or more": self.result_lifetime >= 1,
            "max_generations, max_entries and max_bytes must be 1 or more": (
                min(self.max_generations, self.max_entries, self.max_bytes) >= 1
            ),
        }
        for rule, kept in rules.items():
            if not kept:
                raise ValueError(rule)

    @property
    def duration_range(self) -> tuple[float, float]:
        """The shortest and the longest time that a generation really takes, in seconds."""
        if self.duration is None:
            return self.estimated_time * (1 - self.spread), self.estimated_time * (1 + self.spread)
        if isinstance(self.duration, tuple):
            return self.duration
        return self.duration, self.duration
