"""The three figures that must be right whatever is done to an Airflow: bought = asked for, saved = bought and intact,
nothing stuck."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from reliability_cluster import HurtAirflow

HAS_POSTGRES = bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))
HAS_SERVERS = HAS_POSTGRES and bool(shutil.which("redis-server"))
IN_CI = bool(os.environ.get("CI"))  # there, a server that is missing is a failure
needs_postgres = pytest.mark.skipif(not HAS_POSTGRES and not IN_CI, reason="needs Debian's package postgresql")
needs_servers = pytest.mark.skipif(
    not HAS_SERVERS and not IN_CI, reason="needs Debian's packages postgresql and redis-server"
)

WITHOUT_ESTIMATE = {"endpoint": "create", "kind": "data", "delete": ["estimated_time"], "probability": 1}
STUCK = {"endpoint": "create", "kind": "stuck", "times": 4}


def parsed(airflow: HurtAirflow) -> None:
    """Wait until Airflow knows the DAGs of the tests."""
    airflow.wait_until("the DAGs to be parsed", lambda: len(airflow.api("dags")["dags"]) == 7, 120)


def bought(airflow: HurtAirflow) -> int:
    """How many generations the service has sold."""
    return int(airflow.report()["bought"])


def noted(airflow: HurtAirflow) -> int:
    """How many tasks have got past the note of their generation: their XComs tell."""
    found = airflow.api(
        "dags/few_sync/dagRuns/~/taskInstances/~/xcomEntries", xcom_key_pattern="generation_id", limit=100
    )
    (newest,) = airflow.api("dags/few_sync/dagRuns", order_by="-run_after", limit=1)["dag_runs"]
    return sum(entry["run_id"] == newest["dag_run_id"] for entry in found["xcom_entries"])


def generation_of(airflow: HurtAirflow, run_id: str, index: int, dag_id: str = "few_deferred") -> str:
    """The id of the generation that a mapped task has bought."""
    path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/gen/xcomEntries/generation_id"
    return str(airflow.api(path, map_index=index)["value"])


def start(airflow: HurtAirflow, dag_id: str, folder: Path) -> str:
    """Start a run that saves to a folder; return its id."""
    folder.mkdir(exist_ok=True)
    return airflow.trigger(dag_id, {"output_path": str(folder)})


def saved(folder: Path) -> dict[str, str]:
    """The saved images: generation id -> sha256."""
    return {
        path.name.rpartition("_")[0]: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.suffix == ".jpeg"
    }


def own(airflow: HurtAirflow, generation_ids: Iterable[str]) -> dict[str, str]:
    """The same images as the service has them."""
    return {one: hashlib.sha256(airflow.image_of(one)).hexdigest() for one in generation_ids}


def assert_all_is_well(
    airflow: HurtAirflow, dag_id: str, run_id: str, folder: Path, count: int
) -> list[dict[str, Any]]:
    """Check the three figures; return the task instances."""
    airflow.clear_faults()
    tasks = airflow.tasks(dag_id, run_id)
    found = saved(folder)
    print(
        f"\n{dag_id}: asked {count}, bought {bought(airflow)}, saved {len(found)},"
        f" tries {sum(ti['try_number'] for ti in tasks)}, states {dict(airflow.states(dag_id, run_id))}"
    )
    assert [ti["state"] for ti in tasks] == ["success"] * count
    assert bought(airflow) == count
    assert len(found) == count
    assert found == own(airflow, found)
    return tasks


def assert_short_waits_do_no_harm(airflow: HurtAirflow, dag_id: str, folder: Path, count: int) -> None:
    """Run generations of 1 to 6 s, of which half are deferred: each succeeds in its first try."""
    airflow.control("reset")
    # Where the service tells no estimate, a wait is deferred that may end at once; half of them are.
    airflow.plan({**WITHOUT_ESTIMATE, "probability": 0.5})
    began = time.monotonic()
    run_id = start(airflow, dag_id, folder)
    airflow.wait_for_the_run(dag_id, run_id, 1200)
    print(f"\n{count} generations took {time.monotonic() - began:.0f} s")
    tasks = assert_all_is_well(airflow, dag_id, run_id, folder, count)
    assert [ti["try_number"] for ti in tasks] == [1] * count
