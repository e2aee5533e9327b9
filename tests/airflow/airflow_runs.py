"""Runs DAG files through ``dag.test()`` in this process, the same way on Airflow 2.11 and 3.3."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image
from recorder import ERRORS

from airflow_provider_qwenimage.emulator import Emulator

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "example_dags"


@dataclass
class Run:
    """One finished DAG run: its state, its task instances, and the exceptions that they ended in, in order."""

    state: str
    tis: dict[tuple[str, int], Any]
    errors: list[tuple[str, BaseException]] = field(default_factory=list)

    def state_of(self, task_id: str, map_index: int = -1) -> str:
        return str(self.tis[task_id, map_index].state)

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        ti = self.tis[task_id, map_index]
        return ti.xcom_pull(task_ids=task_id, key=key, map_indexes=map_index if map_index >= 0 else None)

    def error(self, task_id: str) -> BaseException:
        """The only exception of a task."""
        (found,) = [error for task, error in self.errors if task == task_id]
        return found


class AirflowHere:
    """An Airflow without a scheduler: its DAG folder, and ``dag.test()``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "dags"

    def add(self, *files: Path) -> None:
        for file in files:
            if not (self.folder / file.name).exists():
                shutil.copy(file, self.folder)

    def bag(self, folder: Path | None = None) -> Any:
        try:
            from airflow.dag_processing.dagbag import DagBag
        except ImportError:
            from airflow.models.dagbag import DagBag
        bag = DagBag(str(folder or self.folder))
        assert bag.import_errors == {}
        return bag

    def run(self, dag_id: str, *, only: str | None = None, **conf: Any) -> Run:
        """Run a DAG to its end. ``only`` runs one task of it and takes the others for done."""
        dag = self.bag().dags[dag_id]
        skipped = "|".join(re.escape(name) for name in dag.task_ids if name != only) if only else None
        ERRORS.clear()
        run = dag.test(run_conf=conf, mark_success_pattern=skipped or None)
        tis = {(ti.task_id, ti.map_index): ti for ti in run.get_task_instances()}
        return Run(str(run.state), tis, list(ERRORS))


def serialization() -> Any:
    """The class that turns a DAG into what Airflow's scheduler reads, and back."""
    from airflow.serialization import serialized_objects

    return getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG


def whole_image(path: str | Path) -> Image.Image:
    """Decode an image to its last pixel."""
    image = Image.open(io.BytesIO(Path(str(path).removeprefix("file://")).read_bytes()))
    image.load()
    return image


def gets(emulator: Emulator) -> int:
    return emulator.report()["requests"]["get"]


def creates(emulator: Emulator) -> int:
    return emulator.report()["requests"]["create"]


def bought(emulator: Emulator) -> int:
    return emulator.report()["bought"]


def tables(database: Path) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Every table of a SQLite database with all its rows."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(database)) as db:
        db.text_factory = bytes
        names = [row[0].decode() for row in db.execute("select name from sqlite_master where type = 'table'")]
        for name in names:
            yield name, db.execute(f'select * from "{name}"').fetchall()


def uri(url: str, key: str) -> str:
    """A connection to a service, as a URI."""
    scheme, _, authority = url.partition("://")
    return f"qwenimage://{scheme}://:{key}@{authority}"
