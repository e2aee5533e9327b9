"""The pages' SQL on the other databases that Airflow runs on: PostgreSQL for real, MySQL as far as it compiles.

Elsewhere the pages are tested on SQLite, where an XCom's value is text; here it is PostgreSQL's ``jsonb``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import ForeignKeyConstraint, MetaData, create_engine, text
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.orm import Session
from ui_postgres import PROGRAMS, postgres

from airflow_provider_qwenimage.ui import xcoms
from airflow_provider_qwenimage.ui.urls import Place

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
INSERT = text(
    "insert into xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp) "
    "values (:run, :task, :index, :key, :dag, :run_id, cast(:value as jsonb), :at)"
)
Push = Callable[..., None]


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """A database with Airflow's table of XComs, made as its model says but for what other tables have to hold."""
    if not PROGRAMS:
        pytest.skip("Debian's postgresql is not installed")
    pytest.importorskip("psycopg2")
    with postgres() as url:
        made = create_engine(url)
        table = xcoms.XComModel.__table__.to_metadata(MetaData())
        table.constraints -= {rule for rule in table.constraints if isinstance(rule, ForeignKeyConstraint)}
        table.create(made)
        yield made
        made.dispose()


@pytest.fixture
def push(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Push:
    """Store an XCom; the table is empty at first, and is what the pages read."""

    @contextmanager
    def session_here(scoped: bool) -> Iterator[Session]:
        with Session(engine) as session:
            yield session

    def store(value: str, task: str = "make", *, dag: str = "d", run: int = 1, minutes: int = 0, **more: Any) -> None:
        row = {"dag": dag, "run": run, "run_id": f"r{run}", "task": task, "index": -1, "key": "images", "value": value}
        with engine.begin() as db:
            db.execute(INSERT, {**row, "at": NOON + timedelta(minutes=minutes), **more})

    monkeypatch.setattr(xcoms, "create_session", session_here)
    with engine.begin() as db:
        db.execute(text("truncate xcom"))
    return store


def images(*prompts: str) -> str:
    return json.dumps([{"path": "/a.png", "sha256": "a" * 64, "generation_id": "g", "prompt": one} for one in prompts])


def prompts(found: tuple[list[xcoms.Entry], bool]) -> list[str | None]:
    return [image.prompt for entry in found[0] for image in entry.records.images]


def test_newest_first_and_page_by_page(push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the DAGs that are asked for, and no other XComs."""
    monkeypatch.setattr(xcoms, "PAGE", 2)
    for number in range(5):
        push(images(f"no. {number}"), run=number, minutes=number)
    push(images("not asked for"), dag="other", run=9, minutes=99)
    push(images("another key"), "make2", key="pictures", minutes=99)
    assert xcoms.dags_with_images() == {"d", "other"}
    assert [(prompts(found), found[1]) for found in (xcoms.newest({"d"}, page) for page in (1, 2, 3))] == [
        (["no. 4", "no. 3"], True),
        (["no. 2", "no. 1"], True),
        (["no. 0"], False),
    ]
    assert xcoms.newest(set(), 1) == ([], False)


def test_of_one_place(push: Push) -> None:
    """A DAG, a run, a task, a mapped instance."""
    push(images("plain"))
    for index in (0, 1):
        push(images(f"mapped {index}"), "many", index=index)
    push(images("later"), run=2, minutes=1)
    for place, expected in (
        (Place("d"), {"plain", "mapped 0", "mapped 1", "later"}),
        (Place("d", "r1"), {"plain", "mapped 0", "mapped 1"}),
        (Place("d", "r1", "many"), {"mapped 0", "mapped 1"}),
        (Place("d", "r1", "many", 1), {"mapped 1"}),
        (Place("d", "r1' or '1'='1"), set()),
    ):
        assert set(prompts(xcoms.of_place(place, 1))) == expected


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("null", "is not a list"),
        ('"s3://elsewhere"', "is not a list"),
        ("[" * 3000 + "]" * 3000, ""),  # Python 3.13 reads it: a list whose only record is none
        ("[" + "9" * 5000 + "]", "is not a list"),
        (json.dumps([{"path": "/a.png", "sha256": "a" * 64, "prompt": "x" * xcoms.LONGEST}]), "too long"),
    ],
    ids=["null", "text", "deep", "a long number", "long"],
)
def test_what_can_not_be_read_spoils_only_itself(push: Push, value: str, problem: str) -> None:
    """jsonb takes more than Python's JSON reads."""
    push(value)
    push(images("fine"), "other")
    ((entry, *_), _) = xcoms.of_place(Place("d", "r1", "make"), 1)
    assert problem in str(entry.records.problem)
    assert entry.records.images == ()
    assert prompts(xcoms.of_place(Place("d"), 1)) == ["fine"]


def test_text_of_every_kind(push: Push) -> None:
    """jsonb gives back what was stored, in its own order of keys; JSON in JSON is read as well."""
    prompt = "ein Drachen 风筝 🪁 \\u0041 \"quoted\" 'and' {{ not }} % _"
    push(images(prompt))
    push(json.dumps(images("twice")), "other", minutes=1)
    assert prompts(xcoms.newest({"d"}, 1)) == ["twice", prompt]


@pytest.mark.parametrize("dialect", [mysql.dialect(), postgresql.dialect()], ids=["mysql", "postgresql"])
def test_statements_compile(dialect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """MySQL is not run here: it takes no LIMIT below an IN, but does in a joined subquery, and CHAR for TEXT."""
    statements: list[str] = []

    class Recorder:
        def execute(self, statement: Any) -> Any:
            statements.append(str(statement.compile(dialect=dialect)))
            return self

        def all(self) -> list[Any]:
            return []

    @contextmanager
    def recorder(scoped: bool) -> Iterator[Recorder]:
        yield Recorder()

    monkeypatch.setattr(xcoms, "create_session", recorder)
    xcoms.newest({"d"}, 3)
    xcoms.of_place(Place("d", "r", "t", 1), 1)
    assert len(statements) == 2
    for statement in statements:
        assert "JOIN (SELECT" in statement
        assert "CAST(xcom.value AS " + ("CHAR)" if dialect.name == "mysql" else "TEXT)") in statement
