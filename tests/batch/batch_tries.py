"""One task instance of the batch operator, try by try: a new operator object with what Airflow would give it.

``dag.test()`` and a scheduler do more, and take seconds; here a try costs what it does.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import unwrap
from pathlib import Path
from typing import Any

from airflow_provider_qwenimage._compat import TaskDeferred, object_storage_path
from airflow_provider_qwenimage.batch.index import Index
from airflow_provider_qwenimage.batch.ledger import Identity, Ledger
from airflow_provider_qwenimage.batch.trigger import QwenImageBatchTrigger
from airflow_provider_qwenimage.operators import QwenImageBatchGenerateOperator

RETRIES = 3
TASK = ("dag", "run", "task", "-1")


@contextmanager
def opened(
    folder: str, try_number: int = 1, *, marker: int = 0, sleep: Callable[[float], None] = lambda seconds: None
) -> Iterator[tuple[Ledger, Index]]:
    """The ledger of one try, taken over, as a rule without waiting for a writer that is known to be dead."""
    with Index() as index:
        ledger = Ledger(object_storage_path(folder), Identity(TASK, try_number, marker), index)
        try:
            ledger.take_over(sleep=sleep)
            yield ledger, index
        finally:
            ledger._segments.close()  # as the end of its process does, without a goodbye to the next writer


def shorten_waits(patch: Callable[[str, Any], None]) -> None:
    """Let nothing wait for long that need not."""
    ours = "airflow_provider_qwenimage"
    patch(f"{ours}.waits.SHORTEST_DEFERRAL", 0.25)
    patch(f"{ours}.api.retrying.Retries._wait", lambda self, state: 0.0)
    patch(f"{ours}.batch.gate.FIRST_PAUSE", 0.05)
    patch(f"{ours}.batch.gate.LONGEST_PAUSE", 0.5)
    patch(f"{ours}.batch.ledger.TAKEOVER", 0.3)
    patch(f"{ours}.batch.ledger.LOOK_EVERY", 0.2)


class Ti:
    """A task instance, as much of it as the operator sees."""

    dag_id, run_id, task_id, map_index = "shop", "manual__2026-01-01T00:00:00+00:00", "catalogue", -1

    def __init__(self) -> None:
        self.try_number = 0
        self.max_tries = RETRIES
        self.xcoms: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = json.loads(json.dumps(value))


class Tries:
    """Runs the operator as a scheduler does.

    :param arguments: of the operator.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = {"task_id": "catalogue", "poll_interval": 0.15, **arguments}
        self.ti = Ti()
        self.error: BaseException | None = None
        self.path: str | None = None
        self.deferrals = 0

    def next(self, **changed: Any) -> str | None:
        """Run a try to its end; return the manifest's path, or None if it failed."""
        self.arguments |= changed
        self.ti.try_number += 1
        self.ti.xcoms.clear()
        self.error = self.path = None
        try:
            self.path = self._run()
        except Exception as error:
            self.error = error
        return self.path

    def clear(self) -> None:
        """Do what a manual Clear does to the task instance."""
        self.ti.max_tries = self.ti.try_number + RETRIES

    def operator(self) -> QwenImageBatchGenerateOperator:
        return QwenImageBatchGenerateOperator(**self.arguments)

    def _run(self) -> str:
        context: Any = {"ti": self.ti}
        operator = self.operator()
        step: Callable[[], str] = partial(unwrap(type(operator).execute), operator, context)
        while isinstance(ended := self._until_deferred(step), TaskDeferred):
            self.deferrals += 1
            event = self.triggerer(ended.trigger)
            step = partial(self.operator().resume_execution, ended.method_name, {"event": event}, context)
        return ended

    def _until_deferred(self, step: Callable[[], str]) -> str | TaskDeferred:
        try:
            return step()
        except TaskDeferred as deferral:
            return deferral

    def triggerer(self, trigger: QwenImageBatchTrigger) -> Any:
        """Run a trigger as another process would: from its stored arguments."""
        _, arguments = trigger.serialize()

        async def run() -> Any:
            return (await anext(QwenImageBatchTrigger(**json.loads(json.dumps(arguments))).run())).payload

        return json.loads(json.dumps(asyncio.run(run())))

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ti.xcoms["summary"]
        return {name: value for name, value in found.items() if name != "seconds"}

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The manifest, wherever it is."""
        return list(manifest_in(self.arguments["output_path"]))

    @property
    def outcomes(self) -> dict[str, str]:
        return {line["key"]: line["outcome"] for line in self.lines}


def manifest_in(folder: str) -> Iterator[dict[str, Any]]:
    (file,) = Path(folder).glob("manifest-*.jsonl")
    return map(json.loads, file.read_text().splitlines())


def ledger_lines(folder: str) -> list[dict[str, Any]]:
    """Everything that stands in the ledger below a folder, in order; torn lines are left out."""
    found = []
    for file in sorted(Path(folder).glob(".qwenimage/batch-*/segment-*")):
        *whole, _ = file.read_bytes().split(b"\n")
        found += map(json.loads, whole)
    return found


def plain(value: Any, emulator: Any, folder: Any) -> Any:
    """Take out of some JSON what can't be the same in two runs: port, folder, ids, signatures, times, pictures."""
    text = json.dumps(value, ensure_ascii=False)
    for known, name in ((emulator.url, "SERVICE"), (emulator.url.partition("://")[2], "HOST"), (str(folder), "FOLDER")):
        text = text.replace(known, name)
    for pattern, name in (
        (r"manifest-[\w.-]+?\.jsonl", "MANIFEST"),
        (r"\?X-Amz-[^\"]*", ""),
        (r"(?<![0-9a-f])([0-9a-f]{64}|[0-9a-f]{32})(?![0-9a-f])", "ID"),
        (r"after \d+ s", "after SOME s"),
        (r'"(seconds|bytes)": [\d.]+', r'"\1": 0'),
    ):
        text = re.sub(pattern, name, text)
    return json.loads(text)


def books(emulator: Any) -> dict[str, Any]:
    """What the service has done, as far as it must not depend on how a task waits."""
    report = emulator.report()
    return {name: report[name] for name in ("bought", "violations", "credits_spent", "generations", "uploads")}
