"""Runs DAG files through ``dag.test()`` in this process, the same way on Airflow 2.11 to 3.3."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dag_test_mended  # noqa: F401 - for its effect
from PIL import Image
from recorder import ERRORS

from airflow_provider_qwenimage._compat import AIRFLOW_3
from airflow_provider_qwenimage.emulator import Emulator

try:
    from airflow.dag_processing import dagbag
except ImportError:
    from airflow.models import dagbag
DagBag = dagbag.DagBag

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
    """An Airflow without a scheduler: a folder of DAG files, and ``dag.test()``.

    The folder is not the one that Airflow is configured with: Airflow 3.3 reads that one anew in each ``dag.test()``.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "dags-of-tests"
        self.folder.mkdir(exist_ok=True)
        self._files: dict[str, str] = {}

    def add(self, *files: Path) -> None:
        for file in files:
            if not (self.folder / file.name).exists():
                shutil.copy(file, self.folder)

    def bag(self, folder: Path | None = None) -> Any:
        bag = DagBag(str(folder or self.folder))
        assert bag.import_errors == {}
        return bag

    def read(self, dag_id: str) -> Any:
        """A DAG, freshly read from its file, and known to Airflow."""
        if dag_id not in self._files:
            self._files |= {name: dag.fileloc for name, dag in self.bag().dags.items()}
        dag = DagBag(self._files[dag_id]).dags[dag_id]
        register(dag)
        return dag

    def run(self, dag_id: str, *, only: str | None = None, **conf: Any) -> Run:
        """Run a DAG to its end. ``only`` runs one task of it and takes the others for done."""
        dag = self.read(dag_id)
        skipped = "|".join(re.escape(name) for name in dag.task_ids if name != only) if only else None
        ERRORS.clear()
        run = dag.test(run_conf=conf, mark_success_pattern=skipped or None)
        tis = {(ti.task_id, ti.map_index): ti for ti in run.get_task_instances()}
        return Run(str(run.state), tis, list(ERRORS))


def register(dag: Any) -> None:
    """Tell Airflow of a DAG, as its DAG processor would: a run needs a version of its DAG in the database."""
    if not AIRFLOW_3:
        dag.sync_to_db()
        return
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(os.devnull, collect_dags=False)
    bag.dags = {dag.dag_id: dag}
    if hasattr(bag, "sync_to_db"):  # 3.0
        dag.relative_fileloc = dag.relative_fileloc or Path(dag.fileloc).name
        bag.sync_to_db("dags-folder", None)
    else:
        dagbag.sync_bag_to_db(bag, "dags-folder", None)


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
