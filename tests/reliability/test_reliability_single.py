"""One machine with the LocalExecutor, on SQLite and on PostgreSQL: short waits, and processes that are killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("psutil")

from reliability_cluster import HurtAirflow
from reliability_figures import (
    STUCK,
    assert_all_is_well,
    assert_short_waits_do_no_harm,
    generation_of,
    needs_postgres,
    noted,
    parsed,
    start,
)
from reliability_tries import HAS_STORE

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not HAS_STORE, reason="a running Airflow is tested with the newest version only"),
]
MANY = pytest.param("many_deferred", 200, marks=pytest.mark.slow)


def running(home: Path, **options: bool) -> Iterator[HurtAirflow]:
    """An Airflow with the LocalExecutor; generations take 1 to 6 s."""
    airflow = HurtAirflow(home, **options)
    try:
        airflow.start("--estimated-time", "4", "--duration", "1-6")
        parsed(airflow)
        yield airflow
    finally:
        airflow.stop()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HurtAirflow]:
    """As Airflow is tried out: SQLite."""
    yield from running(tmp_path_factory.mktemp("sqlite") / "airflow")


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HurtAirflow]:
    """As small companies run it: PostgreSQL."""
    yield from running(tmp_path_factory.mktemp("postgres") / "airflow", postgres=True)


@pytest.mark.parametrize(("dag_id", "count"), [("twenty_deferred", 20), MANY])
def test_short_generations_are_neither_failed_nor_bought_twice(
    dag_id: str, count: int, sqlite: HurtAirflow, tmp_path: Path
):
    """Deferred waits of 1 to 6 s, where Airflow's scheduler takes many for failures: none here, in one try each."""
    assert_short_waits_do_no_harm(sqlite, dag_id, tmp_path / "images", count)


def test_where_airflow_fails_a_short_deferral_its_retry_goes_on(sqlite: HurtAirflow, tmp_path: Path):
    """With the protection off and workers that end slowly, Airflow fails waits that are over: no retry buys again."""
    sqlite.control("reset")
    run_id = start(sqlite, "raced", tmp_path / "images")
    sqlite.wait_for_the_run("raced", run_id, 600)
    tasks = assert_all_is_well(sqlite, "raced", run_id, tmp_path / "images", 6)
    false_failures = sum(ti["try_number"] > 1 for ti in tasks)
    print(f"\n{false_failures} of 6 were failed by the scheduler at least once")
    assert false_failures > 0


def test_the_machine_loses_its_scheduler_and_workers(sqlite: HurtAirflow, tmp_path: Path):
    """With the LocalExecutor the workers die with the scheduler: tasks go on with what they have bought."""
    sqlite.control("reset")
    sqlite.plan(STUCK)
    run_id = start(sqlite, "few_sync", tmp_path / "images")
    sqlite.wait_until("all to be noted", lambda: noted(sqlite) == 4, 120)
    sqlite.kill("scheduler")
    for index in range(4):
        sqlite.control(f"generations/{generation_of(sqlite, run_id, index, 'few_sync')}", {"state": "completed"})
    sqlite.wait_for_the_run("few_sync", run_id)
    tasks = assert_all_is_well(sqlite, "few_sync", run_id, tmp_path / "images", 4)
    assert {ti["try_number"] for ti in tasks} == {2}


@needs_postgres
@pytest.mark.parametrize(("dag_id", "count"), [("forty_deferred", 40), MANY])
def test_short_generations_on_postgres(dag_id: str, count: int, postgres: HurtAirflow, tmp_path: Path):
    """The same on PostgreSQL, where everything is quicker, the scheduler's mistake too."""
    assert_short_waits_do_no_harm(postgres, dag_id, tmp_path / "images", count)
