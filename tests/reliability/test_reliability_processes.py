"""Whole Airflows whose processes are killed, whose database and service go away, whose disk is full.

After each: bought = asked for, saved = bought and intact, nothing stuck. Where a worker dies over a submission, the
outcome is unknown, and the task says so instead of buying again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psutil")

import sys

sys.path.append(str(Path(__file__).parent.parent / "e2e"))

from reliability_cluster import HurtAirflow, own, saved
from reliability_tries import HAS_STORE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_STORE, reason="a running Airflow is tested with the newest version only"),
]
HAS_SERVERS = bool(shutil.which("redis-server") and list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))
needs_servers = pytest.mark.skipif(
    not HAS_SERVERS and not os.environ.get("CI"), reason="needs Debian's packages postgresql and redis-server"
)

only_on_demand = pytest.mark.skipif(
    not os.environ.get("QWENIMAGE_SLOW"), reason="takes minutes: run it with QWENIMAGE_SLOW=1"
)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HurtAirflow]:
    """SQLite and the LocalExecutor; generations take 1 to 6 s."""
    running = HurtAirflow(tmp_path_factory.mktemp("single") / "airflow", celery=False)
    try:
        running.start("--estimated-time", "4", "--duration", "1-6")
        running.wait_until("the DAGs to be parsed", lambda: len(running.api("dags")["dags"]) == 9, 120)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HurtAirflow]:
    """PostgreSQL, Celery over Redis, two workers, two triggerers; generations take 8 to 10 s."""
    running = HurtAirflow(tmp_path_factory.mktemp("cluster") / "airflow", celery=True)
    try:
        running.start("--estimated-time", "9", "--duration", "8-10")
        running.wait_until("the DAGs to be parsed", lambda: len(running.api("dags")["dags"]) == 9, 120)
        yield running
    finally:
        running.stop()


@pytest.fixture
def cluster(whole_cluster: HurtAirflow) -> HurtAirflow:
    """The cluster, whole again, and a service that has forgotten everything."""
    whole_cluster.revive()
    whole_cluster.control("reset")
    return whole_cluster


def bought(airflow: HurtAirflow) -> int:
    return int(airflow.report()["bought"])


def start(airflow: HurtAirflow, dag_id: str, folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return airflow.trigger(dag_id, {"output_path": str(folder)})


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


# One machine


@pytest.mark.parametrize(
    ("size", "count"), [("sixty", 60), pytest.param("many", 200, marks=[pytest.mark.slow, only_on_demand])]
)
def test_short_generations_are_neither_failed_nor_bought_twice(
    size: str, count: int, single: HurtAirflow, tmp_path: Path
):
    """Deferred waits of 1 to 6 s, where Airflow's scheduler fails every second one: none here, in one try each."""
    single.control("reset")
    # For half of them the service promises 15 s, so that they are deferred although they end much sooner.
    single.plan({"endpoint": "create", "kind": "data", "set": {"estimated_time": 15}, "probability": 0.5})
    began = time.monotonic()
    run_id = start(single, f"{size}_deferred", tmp_path / "images")
    single.wait_for_the_run(f"{size}_deferred", run_id, 1200)
    print(f"\n{count} generations took {time.monotonic() - began:.0f} s")
    tasks = assert_all_is_well(single, f"{size}_deferred", run_id, tmp_path / "images", count)
    assert [ti["try_number"] for ti in tasks] == [1] * count


def test_where_airflow_fails_a_short_deferral_its_retry_goes_on(single: HurtAirflow, tmp_path: Path):
    """With the protection off, Airflow takes waits for failures; their retries buy nothing again."""
    single.control("reset")
    run_id = start(single, "raced", tmp_path / "images")
    single.wait_for_the_run("raced", run_id, 600)
    tasks = assert_all_is_well(single, "raced", run_id, tmp_path / "images", 40)
    false_failures = sum(ti["try_number"] > 1 for ti in tasks)
    print(f"\n{false_failures} of 40 were failed by the scheduler at least once")


# A cluster


@needs_servers
def test_a_worker_killed_over_the_submit(cluster: HurtAirflow, tmp_path: Path):
    """Workers die between a purchase and its answer: the tasks fail with the unknown outcome, and buy nothing."""
    cluster.plan({"endpoint": "create", "kind": "delay", "seconds": 25, "when": "after", "times": 1000})
    run_id = start(cluster, "few_sync", tmp_path / "images")
    cluster.wait_until("all to be bought", lambda: bought(cluster) == 4, 120)
    for part in ("worker-1", "worker-2"):
        cluster.kill(part)
    cluster.clear_faults()
    cluster.wait_for_the_run("few_sync", run_id)
    assert bought(cluster) == 4
    assert cluster.states("few_sync", run_id) == {"failed": 4}
    assert saved(tmp_path / "images") == {}
    log = cluster.http.get(
        f"{cluster.url}/api/v2/dags/few_sync/dagRuns/{run_id}/taskInstances/gen/logs/2",
        params={"map_index": 0, "full_content": True},
        headers={"Accept": "application/x-ndjson"},
        timeout=30,
    ).text
    assert "cut off while it submitted" in log


@needs_servers
def test_a_worker_killed_right_after_the_purchase(cluster: HurtAirflow, tmp_path: Path):
    """Workers die while they wait, with the id noted: the next tries wait for the same generations."""
    run_id = start(cluster, "few_sync", tmp_path / "images")
    # A poll, or the end of the create alone: the id is noted before anything else is done.
    cluster.wait_until("all to be bought", lambda: bought(cluster) == 4, 120)
    cluster.wait_until(
        "all to be noted", lambda: cluster.report()["requests"]["create"] == 4 and noted(cluster) == 4, 60
    )
    for part in ("worker-1", "worker-2"):
        cluster.kill(part)
    cluster.wait_for_the_run("few_sync", run_id)
    tasks = assert_all_is_well(cluster, "few_sync", run_id, tmp_path / "images", 4)
    assert {ti["try_number"] for ti in tasks} == {2}


def noted(cluster: HurtAirflow) -> int:
    """How many tasks have got past the note of their generation: their XComs tell."""
    found = cluster.api(
        "dags/few_sync/dagRuns/~/taskInstances/~/xcomEntries", xcom_key_pattern="generation_id", limit=100
    )
    (newest,) = cluster.api("dags/few_sync/dagRuns", order_by="-run_after", limit=1)["dag_runs"]
    return sum(entry["run_id"] == newest["dag_run_id"] for entry in found["xcom_entries"])


@needs_servers
def test_a_worker_killed_while_it_saves(cluster: HurtAirflow, tmp_path: Path):
    """Workers die in the middle of downloads: the next tries fetch the same images, and no half of one is left."""
    cluster.plan({"endpoint": "image", "kind": "slow", "bytes": 16, "pause": 0.5, "times": 1000})
    run_id = start(cluster, "few_deferred", tmp_path / "images")
    cluster.wait_until("all to be fetched", lambda: cluster.report()["requests"].get("image", 0) >= 4, 180)
    for part in ("worker-1", "worker-2"):
        cluster.kill(part)
    cluster.clear_faults()
    cluster.wait_for_the_run("few_deferred", run_id)
    assert_all_is_well(cluster, "few_deferred", run_id, tmp_path / "images", 4)


@needs_servers
def test_a_triggerer_killed_in_mid_wait(cluster: HurtAirflow, tmp_path: Path):
    """One of two triggerers dies and stays dead: the other takes its waits over."""
    run_id = start(cluster, "some_deferred", tmp_path / "images")
    cluster.wait_until("most to be deferred", lambda: cluster.states("some_deferred", run_id)["deferred"] >= 4, 180)
    cluster.kill("triggerer-1")
    cluster.wait_for_the_run("some_deferred", run_id)
    assert_all_is_well(cluster, "some_deferred", run_id, tmp_path / "images", 20)


@needs_servers
def test_the_scheduler_killed(cluster: HurtAirflow, tmp_path: Path):
    """The scheduler dies in the middle of it all and is started again."""
    run_id = start(cluster, "some_deferred", tmp_path / "images")
    cluster.wait_until("most to be deferred", lambda: cluster.states("some_deferred", run_id)["deferred"] >= 4, 180)
    cluster.kill("scheduler")
    cluster.wait_for_the_run("some_deferred", run_id)
    assert_all_is_well(cluster, "some_deferred", run_id, tmp_path / "images", 20)


@needs_servers
def test_the_database_restarted(cluster: HurtAirflow, tmp_path: Path):
    """Every connection to the database breaks at once, while tasks run and others are deferred."""
    run_id = start(cluster, "some_deferred", tmp_path / "images")
    cluster.wait_until("most to be deferred", lambda: cluster.states("some_deferred", run_id)["deferred"] >= 4, 180)
    cluster.restart_the_database()
    cluster.wait_for_the_run("some_deferred", run_id, 300)
    assert_all_is_well(cluster, "some_deferred", run_id, tmp_path / "images", 20)


@needs_servers
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_at_the_output(cluster: HurtAirflow, tmp_path: Path):
    """Where images do not fit, tries fail until there is room; none buys again."""
    disk = tmp_path / "images"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        (disk / "full").write_bytes(b"x" * 4096)
        run_id = start(cluster, "few_deferred", disk)
        cluster.wait_until("tries to fail", lambda: second_tries(cluster, run_id) == 4, 180)
        (disk / "full").unlink()
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        cluster.wait_for_the_run("few_deferred", run_id)
        assert_all_is_well(cluster, "few_deferred", run_id, disk, 4)
        assert not [path for path in disk.rglob("*") if path.name.endswith(".part")]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def second_tries(cluster: HurtAirflow, run_id: str) -> int:
    tasks = cluster.tasks("few_deferred", run_id)
    return sum(ti["try_number"] > 1 or ti["state"] == "up_for_retry" for ti in tasks)


@needs_servers
def test_the_service_away_for_a_minute(cluster: HurtAirflow, tmp_path: Path):
    """Every request fails for a minute while all are waiting: the waits go on when it is back, in the same try."""
    run_id = start(cluster, "few_deferred", tmp_path / "images")
    cluster.wait_until("all to be deferred", lambda: cluster.states("few_deferred", run_id)["deferred"] == 4, 180)
    cluster.plan({"endpoint": "*", "kind": "close_before", "times": 1_000_000})
    back = time.monotonic() + 60
    cluster.wait_until("a minute to pass", lambda: time.monotonic() > back, 90)
    cluster.clear_faults()
    cluster.wait_for_the_run("few_deferred", run_id)
    tasks = assert_all_is_well(cluster, "few_deferred", run_id, tmp_path / "images", 4)
    assert {ti["try_number"] for ti in tasks} == {1}


@needs_servers
def test_mark_failed_and_clear_of_deferred_tasks(cluster: HurtAirflow, tmp_path: Path):
    """A user who marks a deferred task failed, then clears it, gets a new image; the old wait ends at once."""
    run_id = start(cluster, "few_deferred", tmp_path / "images")
    cluster.wait_until("all to be deferred", lambda: cluster.states("few_deferred", run_id)["deferred"] == 4, 180)
    path = f"{cluster.url}/api/v2/dags/few_deferred"
    told = cluster.http.patch(f"{path}/dagRuns/{run_id}/taskInstances/gen/0", json={"new_state": "failed"}, timeout=30)
    assert told.ok, told.text
    body = {
        "dag_run_id": run_id,
        "task_ids": [["gen", 0]],
        "dry_run": False,
        "only_failed": False,
        "reset_dag_runs": True,
    }
    told = cluster.http.post(f"{path}/clearTaskInstances", json=body, timeout=30)
    assert told.ok, told.text
    cluster.wait_for_the_run("few_deferred", run_id)
    assert cluster.states("few_deferred", run_id) == {"success": 4}
    assert bought(cluster) == 5
    assert len(saved(tmp_path / "images")) == 4


@needs_servers
@pytest.mark.slow
@only_on_demand
def test_200_short_generations_on_a_cluster(cluster: HurtAirflow, tmp_path: Path):
    """The same 200 on PostgreSQL and Celery: 0 false failures, 0 bought twice."""
    run_id = start(cluster, "many_deferred", tmp_path / "images")
    cluster.wait_for_the_run("many_deferred", run_id, 900)
    tasks = assert_all_is_well(cluster, "many_deferred", run_id, tmp_path / "images", 200)
    assert [ti["try_number"] for ti in tasks] == [1] * 200
