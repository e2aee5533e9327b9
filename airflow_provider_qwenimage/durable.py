"""Remembers what a task has bought where its next try finds it, so that a retry goes on instead of buying again.

XCom can't: Airflow wipes it at the start of every try. Airflow 3.3 has a store for the state of a task; on older ones a
small JSON file beside the images serves, if the task has an ``output_path``. A task that was bought under an older
Airflow and is retried under 3.3 finds its file too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Protocol

from airflow_provider_qwenimage._compat import AirflowException, object_storage_path

log = logging.getLogger(__name__)

STATE_KEY = "qwenimage_generation"  # it stands in metadata databases: never rename it
FOLDER = ".qwenimage"


@dataclass(frozen=True)
class Record:
    """One submission. Later versions may add fields with defaults, never rename or remove one.

    :param fingerprint: digest of the request and the connection's id; another request is another purchase.
    :param marker: tells the tries of one run of the task from those after a manual Clear.
    :param intended_at: just before the request was sent, epoch seconds.
    :param generation_id: None until the service has answered.
    :param submitted_at: when it answered, epoch seconds.
    :param estimated_time: its estimate, seconds.
    """

    fingerprint: str
    marker: int
    intended_at: float
    generation_id: str | None = None
    submitted_at: float | None = None
    estimated_time: float | None = None

    @classmethod
    def read(cls, stored: Any) -> Record | None:
        """Return what an earlier try, perhaps of another version, has stored; None if it stored nothing.

        :raises ValueError: it can't be read; taking that for nothing could buy again.
        """
        if stored is None:
            return None
        try:
            return cls(**{name: stored[name] for name in cls.__dataclass_fields__ if name in stored})
        except TypeError:
            raise ValueError(f"what an earlier try has stored can't be read: {str(stored)[:200]}") from None


class Store(Protocol):
    """Keeps one record for one task instance."""

    def load(self) -> Record | None:
        """Return the record; None if there is none."""

    def save(self, record: Record) -> None:
        """Replace the record."""

    def forget(self) -> None:
        """Remove the record."""


class TaskStateStore:
    """In Airflow's own store, 3.3 and later."""

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor

    def load(self) -> Record | None:
        """Return the record; None if there is none."""
        return Record.read(self._accessor.get(STATE_KEY))

    def save(self, record: Record) -> None:
        """Replace the record."""
        self._accessor.set(STATE_KEY, asdict(record))

    def forget(self) -> None:
        """Remove the record."""
        self._accessor.delete(STATE_KEY)


class FileStore:
    """In a JSON file beside the images, one for each task instance."""

    def __init__(self, output_path: str, identity: str) -> None:
        self._name, self._folder = sha256(identity.encode()).hexdigest()[:32], object_storage_path(output_path)
        self._path = self._folder / FOLDER / f"{self._name}.json"

    def load(self) -> Record | None:
        """Return the record; None if there is none.

        :raises ValueError: it is damaged.
        :raises AirflowException: it can't be read now; nothing must be bought without having looked.
        """
        from airflow_provider_qwenimage.saving.storage import filesystem_of, read_bytes

        try:
            stored = read_bytes(self._path, filesystem_of(self._path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # each file system has errors of its own, and some name no file
            raise AirflowException(
                f"{self._path} can't be read ({type(error).__name__}: {error}). It may tell of a generation that was "
                "paid for, so nothing was submitted. The task needs the right to read there; an object store may also "
                "want the right to list, or it does not say that a file is not there."
            ) from error
        try:
            return Record.read(json.loads(stored))
        except ValueError as error:
            raise ValueError(
                f"{self._path}: {error}. It may tell of a generation that was paid for; remove the file to submit anew."
            ) from None

    def save(self, record: Record) -> None:
        """Replace the record.

        :raises Exception: whatever the storage says; before the purchase nothing must be bought then.
        """
        from airflow_provider_qwenimage.saving.storage import store_bytes

        with self._nothing_bought(record.generation_id is None):
            store_bytes(json.dumps(asdict(record)).encode(), self._path)

    def prove_writable(self) -> None:
        """Write where images go to, and leave nothing.

        :raises Exception: whatever the storage says; images could not be saved there either.
        """
        from airflow_provider_qwenimage.saving.storage import prove_writable

        with self._nothing_bought(True):
            # A name of this task's own: stores bound how often one is written to.
            prove_writable(self._folder, f"{FOLDER}-{self._name}.txt")

    def forget(self) -> None:
        """Remove the record."""
        with suppress(FileNotFoundError):
            self._path.unlink()

    @contextmanager
    def _nothing_bought(self, is_so: bool) -> Iterator[None]:
        try:
            yield
        except Exception:
            if is_so:
                log.error("%s can't be written to, so images could not be saved: nothing was submitted", self._folder)
            raise


class UpgradedStore:
    """In Airflow's own store, for a task that may have begun under an Airflow before 3.3: its word is in a file.

    The file is only read, and forgotten, never written; but before a purchase its folder has to be writable. A first
    try looks for it too, although only an earlier one can have left it: an upgrade can lose the number of the try (from
    2.11 to 3.3 on SQLite, it drops all task instances).

    :param first: whether this is the first try, as far as Airflow knows.
    """

    def __init__(self, own: TaskStateStore, file: FileStore, *, first: bool) -> None:
        self._own = own
        self._file = file
        self._first = first
        self._has_file = False

    def load(self) -> Record | None:
        """Return the record; None if there is none."""
        found = self._own.load()
        if found is None:
            found = self._of_older_airflow()
            self._has_file = found is not None
        return found

    def save(self, record: Record) -> None:
        """Replace the record; from now on the file does not count.

        :raises Exception: nothing can be saved beside it, so nothing must be bought.
        """
        if record.generation_id is None:
            self._file.prove_writable()
        self._own.save(record)

    def forget(self) -> None:
        """Remove the record, and the file where there was one: a place that is only written to is left in peace."""
        self._own.forget()
        if self._has_file:
            self._file.forget()

    def _of_older_airflow(self) -> Record | None:
        """Return what the file tells.

        Where it can't be read a retry fails, as under the older Airflow: machine, user, rights and connections are apt
        to change together with Airflow, and to take that for nothing would buy blind. A first try goes on: there is
        nothing to be expected, and some places may only be written to.
        """
        try:
            return self._file.load()
        except AirflowException as error:
            if not self._first:
                raise
            log.info("Not looked for what an older Airflow may have noted: %s", error)
            return None


class NoStore:
    """Nowhere: Airflow is older than 3.3, and the task has no ``output_path``."""

    def load(self) -> None:
        """Find nothing."""

    def save(self, record: Record) -> None:
        """Keep nothing."""

    def forget(self) -> None:
        """Have nothing."""


def store_for(context: Any, output_path: str | None = None) -> Store:
    """Return the best store that this task has."""
    accessor, ti = context.get("task_state_store"), context["ti"]
    own = None if accessor is None else TaskStateStore(accessor)
    if output_path is None:
        return own or NoStore()
    file = FileStore(output_path, "\0".join(map(str, (ti.dag_id, ti.run_id, ti.task_id, ti.map_index))))
    return UpgradedStore(own, file, first=getattr(ti, "try_number", None) in (0, 1)) if own else file


def marker_of(context: Any) -> int:
    """Return a number that a retry keeps and a manual Clear changes: Clear raises ``max_tries``, nothing else does."""
    return int(getattr(context["ti"], "max_tries", None) or 0)


def fingerprint_of(fields: Mapping[str, Any], conn_id: str) -> str:
    """Return a digest of what is asked for, and of which account."""
    return sha256(json.dumps([conn_id, dict(fields)], sort_keys=True).encode()).hexdigest()
