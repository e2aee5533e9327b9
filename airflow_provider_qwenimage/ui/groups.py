"""Puts what single task instances recorded together as people think of it: by run, or within a run by task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from airflow_provider_qwenimage.ui.cards import Card
from airflow_provider_qwenimage.ui.records import Image
from airflow_provider_qwenimage.ui.urls import Place
from airflow_provider_qwenimage.ui.xcoms import Entry

# Images shown of one task instance: among others, and on a page of its own.
SOME, ALL = 12, 500


@dataclass
class Group:
    """A part of the page.

    :param place: what it is about: the link at its top.
    :param title: its name; None if the page's own title says it already.
    :param when: its newest images were recorded.
    :param notes: what there is to say, and a page to go on to, if there is one.
    """

    place: Place
    title: str | None
    when: datetime
    cards: list[Card] = field(default_factory=list)
    notes: list[tuple[str, Place | None]] = field(default_factory=list)


def groups(page: Place | None, entries: Sequence[Entry], card: Callable[[Image, Place], Card]) -> list[Group]:
    """Return the parts of a page, in the order of their newest entries.

    :param page: what the page is about; None: all DAGs.
    :param entries: newest first.
    """
    limit = ALL if page is not None and page.task_id is not None and len(entries) == 1 else SOME
    together: dict[Place, list[Entry]] = {}
    for entry in entries:
        together.setdefault(_place(page, entry.place), []).append(entry)
    found = []
    for place, members in together.items():
        group = Group(place, _title(page, place), members[0].when)
        for entry in sorted(members, key=lambda entry: (entry.place.task_id or "", entry.place.map_index or 0)):
            group.cards += [card(image, entry.place) for image in entry.records.images[:limit]]
            group.notes += _notes(entry, limit)
        found.append(group)
    return found


def _place(page: Place | None, entry: Place) -> Place:
    """Return what an entry is listed under: its run, or on the page of a run its task."""
    if page is None or page.run_id is None:
        return Place(entry.dag_id, entry.run_id)
    return replace(entry, map_index=page.map_index)


def _title(page: Place | None, place: Place) -> str | None:
    if page is None:
        return place.dag_id
    if page.run_id is None:
        return place.run_id
    return place.task_id if page.task_id is None else None


def _notes(entry: Entry, limit: int) -> list[tuple[str, Place | None]]:
    records, task = entry.records, entry.place.task_id
    notes: list[tuple[str, Place | None]] = []
    if records.problem:
        notes.append((f"{task}: {records.problem}", None))
    elif not records.images and not records.skipped:
        notes.append((f"{task}: it recorded that it made no images.", None))
    if records.skipped:
        what = f"{records.skipped} of the entries of its XCom “images” can't be read as images"
        notes.append((f"{task}: {what}; the others are shown.", None))
    if len(records.images) > limit:
        more = len(records.images) - limit
        notes.append((f"{task}: {more} more are not shown here.", entry.place if limit == SOME else None))
    return notes
