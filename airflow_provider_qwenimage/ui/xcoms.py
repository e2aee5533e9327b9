"""Reads what tasks recorded, from Airflow's metadata database, as the REST API does: the stored JSON.

A custom XCom backend is not asked: Airflow's API server does not run those either.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import Text, and_, case, cast, func, null, select

from airflow_provider_qwenimage.ui.records import Records, read_records
from airflow_provider_qwenimage.ui.urls import Place

if TYPE_CHECKING:
    from sqlalchemy import Select

KEY = "images"
LONGEST = 1024 * 1024
PAGE = 20

# As text: JSON that Python can't read (too deep, a number too long) must spoil one entry, not the whole page.
_TEXT = cast(XComModel.value, Text)
_LENGTH = func.length(_TEXT)
_IDS = (XComModel.dag_run_id, XComModel.task_id, XComModel.map_index)
_ORDER = (XComModel.timestamp.desc(), *_IDS)
_COLUMNS = (
    XComModel.dag_id,
    XComModel.run_id,
    XComModel.task_id,
    XComModel.map_index,
    XComModel.timestamp,
    _LENGTH.label("length"),
    case((_LENGTH <= LONGEST, _TEXT), else_=null()).label("raw"),
)


@dataclass(frozen=True)
class Entry:
    """What one task instance recorded.

    :param place: the task instance; its map index is -1 if the task is not mapped.
    :param when: it did so.
    """

    place: Place
    when: datetime
    records: Records


def dags_with_images() -> set[str]:
    """Return the ids of all DAGs that recorded something under the key."""
    with create_session(scoped=False) as session:
        return set(session.scalars(select(XComModel.dag_id).where(XComModel.key == KEY).distinct()))


def newest(dag_ids: Collection[str], page: int) -> tuple[list[Entry], bool]:
    """Return a page of what the tasks of some DAGs recorded, newest first, and whether there is more.

    :param page: from 1.
    """
    entries, more = _entries(_query().where(XComModel.dag_id.in_(sorted(dag_ids))), page)
    return _with_images(entries), more


def of_place(place: Place, page: int) -> tuple[list[Entry], bool]:
    """Return a page of what was recorded there, newest first, and whether there is more."""
    query = _query().where(XComModel.dag_id == place.dag_id)
    if place.run_id is not None:
        query = query.where(XComModel.run_id == place.run_id)
    if place.map_index is not None:
        query = query.where(XComModel.map_index == place.map_index)
    if place.task_id is not None:
        return _entries(query.where(XComModel.task_id == place.task_id), page)
    entries, more = _entries(query, page)
    return _with_images(entries), more


def _with_images(entries: list[Entry]) -> list[Entry]:
    """Leave out what is none of ours: "images" is a word that other people's tasks use too."""
    return [entry for entry in entries if entry.records.images or entry.records.too_long]


def _query() -> Select[Any]:
    columns: tuple[Any, ...] = _IDS  # the type of a Select differs between SQLAlchemy 2.0 and 2.1
    return select(*columns).where(XComModel.key == KEY)


def _entries(query: Select[Any], page: int) -> tuple[list[Entry], bool]:
    # The values of one page only: those of all the others would be much to sort.
    ids = query.order_by(*_ORDER).limit(PAGE + 1).offset((page - 1) * PAGE).subquery()
    same = [ours == ids.c[ours.key] for ours in _IDS]
    chosen = select(*_COLUMNS).join(ids, and_(XComModel.key == KEY, *same)).order_by(*_ORDER)
    with create_session(scoped=False) as session:
        rows = session.execute(chosen).all()
    return [_entry(row) for row in rows[:PAGE]], len(rows) > PAGE


def _entry(row: Any) -> Entry:
    place = Place(row.dag_id, row.run_id, row.task_id, row.map_index)
    if row.length is not None and row.length > LONGEST:
        records = Records(problem=f"its XCom “images” is too long to be shown: {row.length} characters.", too_long=True)
    else:
        records = read_records(row.raw)
    return Entry(place, row.timestamp, records)
