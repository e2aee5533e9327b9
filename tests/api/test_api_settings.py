"""Settings take what can work and refuse what can't; the retry policy waits as it says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from api_servers import bounded
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_qwenimage.api.errors import InvalidSettingsError, OverloadedError, ServiceError
from airflow_provider_qwenimage.api.retrying import NO_RETRIES, Retries
from airflow_provider_qwenimage.api.settings import Settings

KEY = "key_00000000000000000000000000000000"


def test_the_defaults_are_the_service() -> None:
    """A key alone is enough."""
    settings = Settings(KEY)
    assert settings.url("/api/task/get") == "https://api.pixwith.ai/api/task/get"
    assert settings.host == "api.pixwith.ai"
    assert settings.headers() == {
        "Api-Key": KEY,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }


@pytest.mark.parametrize(
    ("base_url", "url", "host"),
    [
        ("http://127.0.0.1:8089", "http://127.0.0.1:8089/x", "127.0.0.1:8089"),
        ("http://127.0.0.1:8089/", "http://127.0.0.1:8089/x", "127.0.0.1:8089"),
        ("https://proxy.example/pixwith/", "https://proxy.example/pixwith/x", "proxy.example"),
        ("http://[::1]:8089", "http://[::1]:8089/x", "[::1]:8089"),
        ("https://user:secret@proxy.example", "https://user:secret@proxy.example/x", "proxy.example"),
    ],
)
def test_addresses(base_url: str, url: str, host: str) -> None:
    """A port and a path are allowed, and a login does not show in the host that messages name."""
    settings = Settings(KEY, base_url)
    assert settings.url("/x") == url
    assert settings.host == host
    assert host in settings.shown_url
    assert "@" not in settings.shown_url


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.pixwith.ai",
        "ftp://api.pixwith.ai",
        "https://",
        "https:///api",
        "https://api.pixwith.ai/?a=b",
        "https://api.pixwith.ai?",
        "https://api.pixwith.ai#",
        "https://api.pixwith.ai/#top",
        "https://api pixwith.ai",
        "https://api.pixwith.ai\n",
        "https://api.pixwith.ai:99999",
        "https://api..pixwith.ai",
        "https://.pixwith.ai",
        "https://" + "a" * 64 + ".ai",
        None,
        5,
    ],
)
def test_what_is_no_address_is_refused(base_url: Any) -> None:
    """The error shows what was given and what it should look like."""
    with pytest.raises(InvalidSettingsError, match=r"base URL must look like https://api\.pixwith\.ai"):
        Settings(KEY, base_url)


@pytest.mark.parametrize("key", ["", None, 5, b"key", "key with blanks", "key\n", " key", "schlüssel", "k\x00"])
def test_what_is_no_key_is_refused_without_showing_it(key: Any) -> None:
    """A key that can't be a header value is refused, and is not in the error."""
    with pytest.raises(InvalidSettingsError, match="API key") as caught:
        Settings(key)
    assert repr(key) not in str(caught.value).replace("''", "")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["connect_timeout", "read_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e12])
def test_time_outs_are_positive(name: str, value: float) -> None:
    """A time-out that is none, or longer than a socket can wait, is refused."""
    with pytest.raises(InvalidSettingsError, match="Time-outs"):
        Settings(KEY, **{name: value})


def test_the_key_is_not_in_the_repr() -> None:
    """Settings may be logged."""
    assert KEY not in repr(Settings(KEY))
    assert KEY not in str(Settings(KEY))


def state(attempt: int, error: BaseException | None) -> Any:
    """What tenacity knows after an attempt, as far as the policy looks."""
    outcome = SimpleNamespace(exception=lambda: error)
    return SimpleNamespace(attempt_number=attempt, outcome=outcome)


@bounded
@given(st.integers(1, 10), st.floats(0, 5), st.floats(0, 60), st.none() | st.floats(0, 300))
def test_waits_stay_within_their_bounds(attempt: int, first: float, longest: float, asked: float | None) -> None:
    """No wait is longer than the longest; Retry-After is honoured up to that; the drawn part doubles."""
    wait = Retries(first_wait=first, longest_wait=longest).tenacity()["wait"](
        state(attempt, OverloadedError("busy", retry_after=asked))
    )
    assert 0 <= wait <= longest
    assert wait >= min(asked or 0, longest)
    assert wait <= max(min(asked or 0, longest), first * 2 ** (attempt - 1)) + 1e-9


def test_waits_are_drawn() -> None:
    """Many clients that fail at the same time do not come back at the same time."""
    wait = Retries(first_wait=8).tenacity()["wait"]
    assert len({wait(state(3, ServiceError("lost"))) for _ in range(20)}) > 10


def test_no_retries_is_one_attempt() -> None:
    """The policy for tests of a connection sends once."""
    assert NO_RETRIES.attempts == 1
