"""How short may a deferral be before Airflow's scheduler takes it for a failure? A measurement, not a test.

``reliability_dwell.py sqlite|postgres COUNT SECONDS...`` runs, in one Airflow with the LocalExecutor and all at once,
COUNT generations for each least length of a deferral, and prints how many tries Airflow has failed falsely.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

from reliability_cluster import HurtAirflow  # noqa: E402
from reliability_figures import WITHOUT_ESTIMATE, own, saved  # noqa: E402

DAG_FILE = """
from datetime import datetime, timedelta, timezone
from airflow import DAG
from airflow_provider_qwenimage import waits
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

waits.SHORTEST_DEFERRAL = {seconds}
day = datetime(2026, 1, 1, tzinfo=timezone.utc)
again = {{"retries": 8, "retry_delay": timedelta(seconds=1)}}
with DAG("{dag_id}", schedule=None, start_date=day, catchup=False, default_args=again, max_active_tasks=500):
    QwenImageGenerateOperator.partial(
        task_id="gen", output_path="{{{{ dag_run.conf['output_path'] }}}}", deferrable=True, timeout=1800
    ).expand(prompt=[f"kite {{number}}" for number in range({count})])
"""


class Patient(HurtAirflow):
    """As Airflow is installed: its scheduler sleeps for a second when there is nothing to do."""

    def env(self) -> dict[str, str]:
        return super().env() | {"AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1"}


def measure(airflow: HurtAirflow, count: int, lengths: list[float], scratch: Path) -> list[str]:
    """Run everything; return the lines of the table."""
    dags = {seconds: f"dwell_{seconds:g}".replace(".", "_") for seconds in lengths}
    for seconds, dag_id in dags.items():
        file = airflow.home / "dags" / f"{dag_id}.py"
        file.write_text(DAG_FILE.format(seconds=seconds, dag_id=dag_id, count=count))
    airflow.start("--duration", "0.2")
    # Done at once, and nothing is known of when: each deferral lasts exactly as long as it must.
    airflow.plan(WITHOUT_ESTIMATE)
    airflow.wait_until(
        "the DAGs to be parsed", lambda: set(dags.values()) <= {d["dag_id"] for d in airflow.api("dags")["dags"]}, 180
    )
    runs: dict[float, str] = {}
    for seconds, dag_id in dags.items():
        (scratch / dag_id).mkdir()
        runs[seconds] = airflow.trigger(dag_id, {"output_path": str(scratch / dag_id)})
    for seconds, dag_id in dags.items():
        airflow.wait_for_the_run(dag_id, runs[seconds], 2400)
    return [_line(airflow, seconds, dags[seconds], runs[seconds], scratch) for seconds in lengths]


def _line(airflow: HurtAirflow, seconds: float, dag_id: str, run_id: str, scratch: Path) -> str:
    tasks: list[dict[str, Any]] = airflow.tasks(dag_id, run_id)
    images = saved(scratch / dag_id)
    events = airflow.api("eventLogs", dag_id=dag_id, event="state mismatch", limit=1)["total_entries"]
    again = sum(ti["try_number"] - 1 for ti in tasks)
    done = sum(ti["state"] == "success" for ti in tasks)
    intact = sum(images[one] == digest for one, digest in own(airflow, images).items())
    return f"{seconds:>7g}{len(tasks):>8}{done:>8}{intact:>8}{again:>8}{events:>16}"


if __name__ == "__main__":
    database, count, *lengths = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="dwell-") as scratch:
        airflow = Patient(Path(scratch) / "airflow", postgres=database == "postgres")
        began = time.monotonic()
        try:
            lines = measure(airflow, int(count), [float(one) for one in lengths], Path(scratch))
            seen = airflow.report()
            # A deferred wait asks twice: in the triggerer, and on the worker that goes on.
            took, asked = time.monotonic() - began, seen["requests"]["get"]
            print(f"{database}: {took:.0f} s, bought {seen['bought']}, asked {asked} times how they are")
            print(
                f"{'seconds':>7}{'asked':>8}{'done':>8}{'intact':>8}{'retries':>8}{'falsely failed':>16}",
                *lines,
                sep="\n",
            )
        finally:
            airflow.stop()
