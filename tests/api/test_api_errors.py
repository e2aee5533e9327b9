"""The tree of errors is as it is drawn, and each error says what it means for money and what to do."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest
from api_servers import bounded
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.api.errors import QwenImageError
from airflow_provider_qwenimage.api.text import printable

CLASSES = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, QwenImageError)]


def drawn_tree() -> dict[str, str | None]:
    """The parent of each class, read from the drawing in the module's docstring."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^([ │├└─]*)([A-Z]\w+Error)\b", line)
        if not found:
            continue
        column, name = len(found[1]), found[2]
        while path and path[-1][0] >= column:
            path.pop()
        parents[name] = path[-1][1] if path else None
        path.append((column, name))
    return parents


def test_the_tree_is_as_it_is_drawn() -> None:
    """Every class is in the drawing, below its parent, and nothing else is."""
    real = {cls.__name__: cls.__base__.__name__ for cls in CLASSES}
    assert real.pop("QwenImageError") == "Exception"
    drawn = drawn_tree()
    assert drawn.pop("QwenImageError") is None
    assert drawn == real


NO_CREDITS = "no credits were spent"
FREE = "Reading costs no credits"
PAID = "already paid for"

# class: what it says of money, a word of its advice, whether doing the same again is safe
TABLE = {
    "QwenImageError": ("", "", False),
    "InvalidRequestError": (NO_CREDITS, "", False),
    "InvalidSettingsError": (NO_CREDITS, "", False),
    "TransientError": ("", "", True),
    "NotSentError": (NO_CREDITS, "base URL", True),
    "OverloadedError": (NO_CREDITS, "later", True),
    "ServiceError": (FREE, "", True),
    "UnexpectedReplyError": (FREE, "base URL", True),
    "UploadError": ("Uploading costs no credits", "", True),
    "RejectedError": (NO_CREDITS, "", False),
    "AuthenticationError": (NO_CREDITS, "API key", False),
    "InsufficientCreditsError": (NO_CREDITS, "Top up", False),
    "InvalidImageError": (NO_CREDITS, "JPEG or PNG", False),
    "NotFoundError": (FREE, "generation id", False),
    "UnknownOutcomeError": ("may have been started and charged", "not sent again", False),
    "GenerationError": ("", "", False),
    "GenerationFailedError": ("not published", "new purchase", False),
    "NoImagesError": ("probably been charged", "new purchase", False),
    "MissingImagesError": ("probably been charged", "", False),
    "GenerationTimeoutError": ("may be charged", "same generation id", True),
    "ImageError": (PAID, "", False),
    "ImageGoneError": (PAID, "No retry buys again", False),
    "ForbiddenHostError": (PAID, "private address", False),
    "ImageDownloadError": (PAID, "", True),
    "BrokenImageError": (PAID, "", True),
    "ImageTooLongError": (PAID, "", False),
}


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_speaks_of_money_advice_and_retries(cls: type[QwenImageError]) -> None:
    """Each class says what it should, and says it in its text."""
    money, advice, retry_safe = TABLE[cls.__name__]
    assert money in cls.money
    assert advice in cls.advice
    assert cls.retry_safe is retry_safe
    assert str(cls("It broke.")) == " ".join(part for part in ("It broke.", cls.money, cls.advice) if part)


def test_the_table_is_complete() -> None:
    """A new class needs a line above."""
    assert set(TABLE) == {cls.__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES)
def test_the_text_holds_status_and_message(cls: type[QwenImageError]) -> None:
    """The HTTP status and the service's own words are in the text, right after what happened."""
    error = cls("It broke.", http_status=502, service_message="try later", retry_after=3.0, generation_id="abc")
    assert str(error).startswith("It broke. (HTTP 502, service message: 'try later')")
    facts = (error.message, error.http_status, error.service_message, error.retry_after, error.generation_id)
    assert facts == ("It broke.", 502, "try later", 3.0, "abc")


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_survive_a_move_to_another_process(cls: type[QwenImageError]) -> None:
    """Pickled or copied, an error keeps its class, its text and its facts."""
    error = cls("It broke.", http_status=502, service_message="try later", retry_after=3.0, generation_id="abc")
    for moved in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(moved) is cls
        assert str(moved) == str(error)
        assert vars(moved) == vars(error)


def test_wrong_input_is_also_a_value_error() -> None:
    """What Python calls a ValueError can be caught as one."""
    assert issubclass(errors.InvalidRequestError, ValueError)
    assert issubclass(errors.InvalidSettingsError, ValueError)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("two\nlines\r\nand\ttabs", "two lines and tabs"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("nul\x00 and bell\x07", "nul and bell"),
        ("right\u202eto left", "right to left"),
        ("half \ud83d a pair", "half a pair"),
        ("日本語 and 🙂", "日本語 and 🙂"),
        ("x" * 5000, "x" * 299 + "…"),
    ],
)
def test_words_of_the_service_are_fit_for_a_log(words: str, shown: str) -> None:
    """Control characters, line breaks and endless texts of others do not reach the log."""
    error = QwenImageError("It broke.", service_message=words)
    assert error.service_message == shown
    assert str(error).isprintable()


def test_an_id_of_the_service_is_fit_for_a_log_too() -> None:
    """An id is the service's word as well: it may hold anything, and is part of a message."""
    error = QwenImageError("Generation abc\n\x1b[31mERROR all is lost\x1b[0m failed.")
    assert str(error) == "Generation abc [31mERROR all is lost [0m failed."


@bounded
@given(st.text(st.characters()))
def test_printable_texts_are_one_short_line(text: str) -> None:
    """Whatever comes, what is printed is one line of limited length that can be encoded."""
    line = printable(text)
    assert line.isprintable()
    assert len(line) <= 300
    line.encode()  # no half of a surrogate pair is left
