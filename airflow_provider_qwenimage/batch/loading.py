"""Takes up what is asked for, and reports everything that is wrong with it at once, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from airflow_provider_qwenimage._compat import object_storage_path
from airflow_provider_qwenimage.api.errors import InvalidRequestError, QwenImageError
from airflow_provider_qwenimage.api.rules import short
from airflow_provider_qwenimage.api.text import printable
from airflow_provider_qwenimage.batch.index import Index
from airflow_provider_qwenimage.batch.items import ItemMaker
from airflow_provider_qwenimage.batch.literals import check_path
from airflow_provider_qwenimage.batch.rows import Row, rows_in, rows_of
from airflow_provider_qwenimage.exceptions import airflow_errors
from airflow_provider_qwenimage.fields import none_if_empty, raise_invalid, text_list

SHOWN = 20


class BadRowsError(InvalidRequestError):
    """Rows of a batch can't be used; found before anything was sent. Its text has a line for each of the first ones."""

    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join((super().__str__(), *self.problems))


@contextmanager
def rows(requests: Any) -> Iterator[Iterable[Row]]:
    """Give the rows of what the task was told to make.

    :param requests: a sequence of prompts and mappings, the text that one renders to, or the path of a file.
    :raises InvalidRequestError: it is none of these.
    """
    requests = text_list(none_if_empty(requests))
    if isinstance(requests, str):
        check_path(requests)
        with object_storage_path(requests).open("rb") as file:
            yield rows_in(file, requests)
        return
    if requests is None or isinstance(requests, (bytes, dict)) or not isinstance(requests, Iterable):
        raise_invalid(
            f"requests must be a list of prompts or of request fields, or the path of a file, not {short(requests)}: "
            "did the task that it comes from return it?"
        )
    yield rows_of(requests)


def load(index: Index, found: Iterable[Row], maker: ItemMaker) -> None:
    """Put all items into the index.

    :raises InvalidRequestError: at least one row can't be used; the text tells of the first ones. Nothing was sent.
    """
    problems: list[str] = []
    number = position = 0
    with index.transaction():
        for row in found:
            problem = row.problem or _take(index, row, maker, position)
            position += 1
            if problem:
                number += 1
                if len(problems) < SHOWN:
                    problems.append(f"{row.place} {printable(problem, 200)}")
    if number:
        _refuse(number, position, problems)


def _take(index: Index, row: Row, maker: ItemMaker, position: int) -> str | None:
    try:
        item = maker.make(row.content, position)
    except QwenImageError as error:
        return f"can't be used: {error.message.removeprefix('The request is invalid: ').rstrip('.')}"
    return index.add(position, row.place, item)


def _refuse(number: int, of: int, problems: list[str]) -> NoReturn:
    more = [f"… and {number - len(problems)} more"] if number > len(problems) else []
    error = BadRowsError(f"{number} of {of} requests can't be used, so none was sent.")
    error.problems = (*problems, *more)
    with airflow_errors():
        raise error
