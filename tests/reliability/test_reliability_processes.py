"""A cluster whose processes are killed, whose database and service go away, whose disk is full.

PostgreSQL, Celery over Redis, two workers, two triggerers. After each: bought = asked for, saved = bought and intact,
nothing stuck. Where a worker dies over a submission, the outcome is unknown, and the task says so instead of buying
again.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psutil")

from reliability_cluster import HurtAirflow
from reliability_figures import (
    STUCK,
    assert_all_is_well,
    bought,
    generation_of,
    needs_servers,
    noted,
    parsed,
    saved,
    start,
)
from reliability_tries import HAS_STORE

pytestmark = [
    pytest.mark.e2e,
    needs_servers,
    pytest.mark.skipif(not HAS_STORE, reason="a running Airflow is tested with the newest version only"),
]


@pytest.fixture(scope="module")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HurtAirflow]:
    """The cluster, started once; generations take 8 to 10 s."""
    running = HurtAirflow(tmp_path_factory.mktemp("cluster") / "airflow", celery=True, hasty=True)
    try:
        running.start("--estimated-time", "9", "--duration", "8-10")
        parsed(running)
        yield running
    finally:
        running.stop()


@pytest.fixture
def cluster(whole_cluster: HurtAirflow) -> HurtAirflow:
    """The cluster, whole again, and a service that has forgotten everything."""
    whole_cluster.revive()
    whole_cluster.control("reset")
    return whole_cluster


def deferred(cluster: HurtAirflow, dag_id: str, run_id: str) -> int:
    return cluster.states(dag_id, run_id)["deferred"]


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


def test_a_triggerer_killed_in_mid_wait(cluster: HurtAirflow, tmp_path: Path):
    """One of two triggerers dies and stays dead: the other takes its waits over."""
    run_id = start(cluster, "some_deferred", tmp_path / "images")
    cluster.wait_until("most to be deferred", lambda: deferred(cluster, "some_deferred", run_id) >= 4, 180)
    cluster.kill("triggerer-1")
    cluster.wait_for_the_run("some_deferred", run_id)
    assert_all_is_well(cluster, "some_deferred", run_id, tmp_path / "images", 8)


def test_the_scheduler_killed(cluster: HurtAirflow, tmp_path: Path):
    """The scheduler dies in the middle of it all and is started again."""
    run_id = start(cluster, "some_deferred", tmp_path / "images")
    cluster.wait_until("most to be deferred", lambda: deferred(cluster, "some_deferred", run_id) >= 4, 180)
    cluster.kill("scheduler")
    cluster.wait_for_the_run("some_deferred", run_id)
    assert_all_is_well(cluster, "some_deferred", run_id, tmp_path / "images", 8)


def test_the_database_restarted(cluster: HurtAirflow, tmp_path: Path):
    """Every connection to the database breaks at once, while tasks run and others are deferred."""
    run_id = start(cluster, "some_deferred", tmp_path / "images")
    cluster.wait_until("most to be deferred", lambda: deferred(cluster, "some_deferred", run_id) >= 4, 180)
    cluster.restart_the_database()
    cluster.wait_for_the_run("some_deferred", run_id, 300)
    assert_all_is_well(cluster, "some_deferred", run_id, tmp_path / "images", 8)


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


@pytest.mark.parametrize("seconds", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_the_service_away_for_a_minute(seconds: int, cluster: HurtAirflow, tmp_path: Path):
    """Every request fails while all are waiting: the waits go on when the service is back, in the same try."""
    run_id = start(cluster, "few_deferred", tmp_path / "images")
    cluster.wait_until("all to be deferred", lambda: deferred(cluster, "few_deferred", run_id) == 4, 180)
    cluster.plan({"endpoint": "*", "kind": "close_before", "times": 1_000_000})
    back = time.monotonic() + seconds
    cluster.wait_until("the time to pass", lambda: time.monotonic() > back, seconds + 30)
    cluster.clear_faults()
    cluster.wait_for_the_run("few_deferred", run_id)
    tasks = assert_all_is_well(cluster, "few_deferred", run_id, tmp_path / "images", 4)
    assert {ti["try_number"] for ti in tasks} == {1}


def test_deferred_tasks_are_marked_failed_and_cleared(cluster: HurtAirflow, tmp_path: Path):
    """Who clears a deferred task gets a new image at once, whether it was marked failed before or not."""
    cluster.plan(STUCK)  # so that they wait until all is done to them
    run_id = start(cluster, "few_deferred", tmp_path / "images")
    cluster.wait_until("all to be deferred", lambda: deferred(cluster, "few_deferred", run_id) == 4, 180)
    first = {index: generation_of(cluster, run_id, index) for index in range(4)}
    mark_failed(cluster, run_id, 0)
    clear(cluster, run_id, 0)
    clear(cluster, run_id, 1)
    for index in (2, 3):
        cluster.control(f"generations/{first[index]}", {"state": "completed"})
    cluster.wait_for_the_run("few_deferred", run_id)
    assert cluster.states("few_deferred", run_id) == {"success": 4}
    assert bought(cluster) == 6
    found = saved(tmp_path / "images")
    assert len(found) == 4
    assert found.keys() & first.values() == {first[2], first[3]}


def test_a_running_task_is_cleared(cluster: HurtAirflow, tmp_path: Path):
    """Clearing a task that waits on its worker ends that worker's wait and makes a new image."""
    cluster.plan(STUCK)
    run_id = start(cluster, "few_sync", tmp_path / "images")
    cluster.wait_until("all to be bought", lambda: noted(cluster) == 4, 180)
    first = {index: generation_of(cluster, run_id, index, "few_sync") for index in range(4)}
    clear(cluster, run_id, 0, "few_sync")
    for index in (1, 2, 3):
        cluster.control(f"generations/{first[index]}", {"state": "completed"})
    cluster.wait_for_the_run("few_sync", run_id)
    assert cluster.states("few_sync", run_id) == {"success": 4}
    assert bought(cluster) == 5


def mark_failed(cluster: HurtAirflow, run_id: str, index: int) -> None:
    path = f"{cluster.url}/api/v2/dags/few_deferred/dagRuns/{run_id}/taskInstances/gen/{index}"
    told = cluster.http.patch(path, json={"new_state": "failed"}, timeout=30)
    assert told.ok, told.text


def clear(cluster: HurtAirflow, run_id: str, index: int, dag_id: str = "few_deferred") -> None:
    body = {"dag_run_id": run_id, "task_ids": [["gen", index]], "dry_run": False}
    body |= {"only_failed": False, "reset_dag_runs": True}
    told = cluster.http.post(f"{cluster.url}/api/v2/dags/{dag_id}/clearTaskInstances", json=body, timeout=30)
    assert told.ok, told.text
