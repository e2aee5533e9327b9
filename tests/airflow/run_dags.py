"""Runs DAGs one after the other, as a process of its own: ``run_dags.py '[["dag_id", {"conf": 1}], ...]'``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from airflow_runs import AirflowHere

if __name__ == "__main__":
    airflow = AirflowHere(Path(os.environ["AIRFLOW_HOME"]))
    for dag_id, conf in json.loads(sys.argv[1]):
        print(f"RUN {dag_id}: {airflow.run(dag_id, **conf).state}", flush=True)
