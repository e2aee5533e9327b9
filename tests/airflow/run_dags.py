"""Runs DAGs one after the other, as a process of its own: ``run_dags.py FOLDER '[["dag_id", {"conf": 1}], ...]'``.

What batches keep only while they run, their indexes, is copied into the folder.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow_runs import AirflowHere

from airflow_provider_qwenimage.batch.index import Index


def keep_indexes(folder: str) -> None:
    end = Index.__exit__

    def copy_and_end(self: Index, *error: Any) -> None:
        self._db.commit()  # a copy waits for the end of what is being written
        with closing(sqlite3.connect(Path(folder) / f"{uuid4().hex}.sqlite")) as copy:
            self._db.backup(copy)
        end(self, *error)

    Index.__exit__ = copy_and_end  # type: ignore[method-assign]


if __name__ == "__main__":
    airflow = AirflowHere(Path(os.environ["AIRFLOW_HOME"]))
    keep_indexes(sys.argv[1])
    for dag_id, conf in json.loads(sys.argv[2]):
        print(f"RUN {dag_id}: {airflow.run(dag_id, **conf).state}", flush=True)
