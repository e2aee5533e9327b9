"""The examples that ``tests/airflow`` can't run by itself: one waits for an asset event, one for a person."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow_runs import AirflowHere, Run
from dags_made_here import asset_events, files_in, register, trigger_by_events

from airflow_provider_qwenimage._compat import AIRFLOW_3
from airflow_provider_qwenimage.emulator import Emulator

EXAMPLES = Path(__file__).parent.parent.parent / "example_dags"
WITH_REVIEW = tuple(map(int, airflow_version.split(".")[:2])) >= (3, 3)  # earlier the answer goes through a triggerer


@pytest.fixture(scope="module")
def examples(airflow_db: Path) -> AirflowHere:
    here = AirflowHere(airflow_db)
    here.add(*EXAMPLES.glob("*.py"))
    return here


def test_consumer_is_told_the_files(examples: AirflowHere, service: Emulator, tmp_path: Path):
    """The producer's event names the files; the consumer, started by that event, returns them."""
    for dag in examples.bag().dags.values():
        register(dag)
    made = examples.run("qwenimage_asset_producer", output_path=f"file://{tmp_path}")
    assert made.state == "success"
    (event,) = asset_events(made)
    consumer = examples.bag().dags["qwenimage_asset_consumer"]
    run = trigger_by_events(consumer, [event])
    assert run.state == "success"
    paths = run.xcom("hang_up")
    assert paths == made.xcom("draw") == event.extra["paths"]
    assert [Path(path.removeprefix("file://")).name for path in paths] == list(files_in(tmp_path))


@pytest.mark.skipif(AIRFLOW_3, reason="Airflow 3.1 and later have human review")
def test_review_is_no_dag_on_old_airflow(examples: AirflowHere):
    """Where there is no human review the file parses without an error and holds no DAG."""
    assert "qwenimage_human_review" not in examples.bag().dags


@pytest.fixture
def review(
    examples: AirflowHere, service: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """Run the review with a person who answers: task -> (option, changed prompt).

    The person answers between two tasks. A second thread would write to SQLite while tasks do, which refuses one of
    them; a task whose end is not written stays "running", and ``dag.test()`` waits for it for ever.
    """
    from airflow.sdk.definitions import dag

    def run_it(answers: dict[str, tuple[str, str | None]]) -> Run:
        run_task = dag._run_task

        def run_and_answer(*, ti: Any, **more: Any) -> Any:
            result = run_task(ti=ti, **more)
            if ti.task_id in answers:
                _answer(ti, *answers[ti.task_id])
            return result

        monkeypatch.setattr(dag, "_run_task", run_and_answer)
        return examples.run("qwenimage_human_review", output_path=f"file://{tmp_path}")

    return run_it


def _answer(ti: Any, option: str, prompt: str | None) -> None:
    """Answer as the REST API does when somebody clicks, if the task waits for it."""
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    words = {} if prompt is None else {"changed_prompt": prompt}
    payload = UpdateHITLDetailPayload(chosen_options=[option], params_input=words)
    person = SimpleAuthManagerUser(username="editor", role="admin")
    with create_session(scoped=False) as session:
        if session.get(TaskInstance, ti.id).state == "awaiting_input":
            update_hitl_detail(ti.dag_id, ti.run_id, ti.task_id, payload, person, session)


@pytest.mark.skipif(not WITH_REVIEW, reason="dag.test() can be answered from outside since Airflow 3.3")
def test_approved_images_are_published(review: Callable[..., Run], service: Emulator, tmp_path: Path):
    """The review shows the images; "Publish" copies them, and nothing more is bought."""
    run = review({"review": ("Publish", "")})
    assert run.state == "success"
    files = files_in(tmp_path)
    drafts = {name.removeprefix("drafts/"): content for name, content in files.items() if name.startswith("drafts/")}
    published = {
        name.removeprefix("published/"): found for name, found in files.items() if name.startswith("published/")
    }
    assert len(drafts) == 2
    assert published == drafts
    assert service.report()["bought"] == 1
    assert {run.state_of("draw_again"), run.state_of("approve")} == {"skipped"}
    body = _body(run, "review")
    assert all(f"![image]({record['url']})" in body for record in run.xcom("draw", "images"))


@pytest.mark.skipif(not WITH_REVIEW, reason="dag.test() can be answered from outside since Airflow 3.3")
@pytest.mark.parametrize(("last_word", "published"), [("Approve", 2), ("Reject", 0)])
def test_changed_prompt_is_drawn(
    last_word: str, published: int, review: Callable[..., Run], service: Emulator, tmp_path: Path
):
    """ "Draw again" makes images from the reviewer's prompt; only those are published, and only once approved."""
    run = review({"review": ("Draw again", "a shy robot"), "approve": (last_word, None)})
    assert run.state == "success"
    assert run.xcom("draw_again", "images")[0]["prompt"] == "a shy robot"
    names = {Path(path).name for path in run.xcom("draw_again")}
    found = {Path(name).name for name in files_in(tmp_path) if name.startswith("published/")}
    assert found == (names if published else set())
    assert service.report()["bought"] == 2
    assert all(record["url"] in _body(run, "approve") for record in run.xcom("draw_again", "images"))


def _body(run: Run, task_id: str) -> str:
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session

    with create_session() as session:
        found: Any = session.query(HITLDetail).filter_by(ti_id=run.tis[task_id, -1].id).one()
        return str(found.body)
