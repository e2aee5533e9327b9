"""Sync and deferrable mode, operator and decorator, plain and mapped: one outcome, whatever happens at the service."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from dags_made_here import Bench, files_in, task, xcoms
from PIL import Image

from airflow_provider_qwenimage._compat import AirflowException, AirflowFailException
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.operators import QwenImageGenerateOperator

PROMPTS = ("a <kite> & 风筝", "ein Drachen")
IMAGE = "a picture on disk"
FORMS = [(form, deferrable) for form in ("operator", "decorator") for deferrable in (False, True)]


@dataclass(frozen=True)
class Ending:
    """What is planned, and what comes of it: the error (None for success), images saved, generations bought."""

    error: type[errors.QwenImageError] | None = None
    family: type[Exception] = AirflowFailException
    saved: int = 2
    bought: int = 1
    defers: bool = True
    faults: tuple[dict[str, Any], ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    service: dict[str, Any] = field(default_factory=dict)
    key: str | None = None


ENDINGS = {
    "completed": Ending(),
    "completed late": Ending(service={"duration": 0.6}),
    "failed": Ending(
        errors.GenerationFailedError, AirflowException, saved=0, faults=({"endpoint": "create", "kind": "fail"},)
    ),
    "no images": Ending(
        errors.NoImagesError, saved=0, faults=({"endpoint": "create", "kind": "missing_urls", "urls": "null"},)
    ),
    "an image missing, fail": Ending(
        errors.MissingImagesError, saved=1, faults=({"endpoint": "create", "kind": "missing_urls"},)
    ),
    "an image missing, keep": Ending(
        saved=1,
        faults=({"endpoint": "create", "kind": "missing_urls"},),
        arguments={"on_missing_images": "keep"},
    ),
    "wrong key": Ending(errors.AuthenticationError, saved=0, bought=0, defers=False, key="key_wrong"),
    "key disabled while waiting": Ending(
        errors.AuthenticationError,
        saved=0,
        faults=({"endpoint": "get", "kind": "refuse", "message": "Invalid API KEY"},),
    ),
    "too few credits": Ending(errors.InsufficientCreditsError, saved=0, bought=0, defers=False, service={"credits": 1}),
    "min_credits not there": Ending(
        errors.InsufficientCreditsError, saved=0, bought=0, defers=False, arguments={"min_credits": 1001}
    ),
    "timeout": Ending(
        errors.GenerationTimeoutError,
        AirflowException,
        saved=0,
        faults=({"endpoint": "create", "kind": "stuck"},),
        arguments={"timeout": 0.6},
    ),
    "bad input": Ending(
        errors.InvalidRequestError,
        saved=0,
        bought=0,
        defers=False,
        arguments={"aspect_ratio": "{{ '1:1' }}"},
    ),
    "a broken image": Ending(
        errors.BrokenImageError,
        AirflowException,
        saved=0,
        faults=({"endpoint": "image", "kind": "truncated_image"},),
    ),
    "from an image": Ending(arguments={"image": IMAGE}),
    "the answer to the purchase lost": Ending(
        errors.UnknownOutcomeError,
        saved=0,
        defers=False,
        faults=({"endpoint": "create", "kind": "close_after"},),
    ),
    "images gone": Ending(
        errors.ImageGoneError,
        AirflowException,
        saved=0,
        faults=({"endpoint": "image", "kind": "http_error", "status": 404},),
    ),
}
MAPPED = ("completed", "failed", "images gone", "from an image")


@dataclass
class Outcome:
    """Everything that a user can see of a run, without what can't be the same: port, folder, signatures, seconds."""

    states: dict[tuple[str, int], str]
    xcoms: dict[tuple[str, int], dict[str, Any]]
    files: dict[str, bytes]
    errors: list[tuple[str, tuple[str, ...], str, str | None]]
    requests: list[tuple[str, Any]]
    report: dict[str, Any]


Run = Callable[..., Outcome]


@pytest.fixture
def ended(
    bench: Bench,
    start: Callable[..., Emulator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Run:
    """Run one form of the DAG into one ending."""

    def run_it(name: str, form: str, deferrable: bool, mapped: bool) -> Outcome:
        ending, folder = ENDINGS[name], tmp_path / f"{form}-{deferrable}"
        emulator = start(**ending.service)
        emulator.state.plan(*({"times": 99, **fault} for fault in ending.faults))
        if ending.key:
            monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", _connection(emulator.url, ending.key))
        arguments = {
            "task_id": "gen",
            "num_outputs": 2,
            "output_path": str(folder),
            "deferrable": deferrable,
            **ending.arguments,
        }
        if arguments.get("image") == IMAGE:
            arguments["image"] = str(tmp_path / "in.png")
            Image.new("RGB", (20, 20), "teal").save(tmp_path / "in.png")
        caplog.clear()
        with bench.dag() as dag:
            _task(form, mapped, arguments)
        run = bench.run_dag(dag)
        assert ("running trigger in line" in caplog.text) == (deferrable and ending.defers)
        return _outcome(run, emulator, folder)

    return run_it


def _task(form: str, mapped: bool, arguments: dict[str, Any]) -> None:
    if form == "operator":
        if mapped:
            QwenImageGenerateOperator.partial(**arguments).expand(prompt=list(PROMPTS))
        else:
            QwenImageGenerateOperator(prompt=PROMPTS[0], **arguments)
        return

    @task.qwenimage(**arguments)
    def gen(what: str) -> str:
        return what

    if mapped:
        gen.expand(what=list(PROMPTS))
    else:
        gen(PROMPTS[0])


def _outcome(run: Any, emulator: Emulator, folder: Path) -> Outcome:
    found, files = {key: xcoms(ti) for key, ti in run.tis.items()}, files_in(folder)
    # A picture depends on its generation's id, and so on the order of mapped tasks, and on the URL it starts from.
    differ = len(found) > 1 or emulator.report()["requests"]["upload"] > 0
    for record in (record for of in found.values() for record in of.get("images", ())):
        content = files[str(Path(record["path"]).relative_to(folder))]
        assert (record["bytes"], record["sha256"]) == (len(content), sha256(content).hexdigest())
        if differ:
            record.update(bytes="some", sha256="some")
    ids = {of["generation_id"]: f"ID{key[1]}" for key, of in found.items() if "generation_id" in of}

    def plain(value: Any) -> Any:
        """Take out what can't be the same in two runs; Airflow runs mapped tasks in any order."""
        text = json.dumps(value, ensure_ascii=False).replace(emulator.url, "SERVICE").replace(str(folder), "FOLDER")
        text = re.sub(r"\?X-Amz-[^\"]*", "", text)
        text = re.sub(r"uploads/[0-9a-f]{32}", "uploads/some", text)
        text = re.sub(r"waiting for generation (\w+) after \d+ s", r"waiting for generation \1 after some s", text)
        text = text.replace(emulator.url.removeprefix("http://"), "SERVICE")
        text = re.sub("|".join(ids) or "$^", lambda match: ids[match[0]], text)
        return json.loads(re.sub(r'"(seconds|submitted_at)": [\d.]+', r'"\1": "some"', text))

    report = emulator.report()
    return Outcome(
        states={key: str(ti.state) for key, ti in run.tis.items()},
        # Airflow 3 pushes a link that is empty, and one that names the run.
        xcoms={
            key: {
                name: value for name, value in plain(of).items() if value != "" and name != "_link_QwenImageImagesLink"
            }
            for key, of in found.items()
        },
        files={plain(name): b"" if differ else content for name, content in files.items()},
        errors=sorted(
            (type(error).__name__, _families(error), plain(str(error)), plain(getattr(error, "generation_id", None)))
            for _, error in run.errors
        ),
        # Two deferred tasks poll by turns where dag.test() defers both before it resumes one (3.0).
        requests=_polls_once(sorted(plain(_requests(emulator)), key=str))
        if len(found) > 1
        else plain(_requests(emulator)),
        report={name: report[name] for name in ("bought", "violations", "credits_spent", "generations")},
    )


def _families(error: BaseException) -> tuple[str, ...]:
    return tuple(kind.__name__ for kind in type(error).__mro__)


def _requests(emulator: Emulator) -> list[tuple[str, Any]]:
    """What was asked, in order: polls in a row count once, and images are fetched several at a time."""
    asked = [(entry["endpoint"], entry["body"] or entry["path"]) for entry in emulator.requests()]
    return sorted(_polls_once(asked), key=lambda entry: str(entry) if entry[0] == "image" else "")


def _polls_once(asked: list[Any]) -> list[Any]:
    pairs = zip([None, *asked], asked, strict=False)
    return [entry for before, entry in pairs if entry[0] != "get" or entry != before]


@pytest.mark.parametrize("name", ENDINGS)
def test_plain_tasks_end_alike(name: str, ended: Run):
    """One task, four forms: equal return values, XComs, files, exceptions, requests and purchases."""
    ending = ENDINGS[name]
    outcomes = [ended(name, form, deferrable, mapped=False) for form, deferrable in FORMS]
    for outcome in outcomes[1:]:
        assert outcome == outcomes[0]
    first = outcomes[0]
    assert first.report["bought"] == ending.bought
    assert first.report["violations"] == []
    assert len(first.files) == ending.saved
    found = first.xcoms["gen", -1]
    if ending.error is None:
        assert first.states == {("gen", -1): "success"}
        assert found["return_value"] == [f"FOLDER/{name}" for name in first.files]
    else:
        assert first.states == {("gen", -1): "failed"}
        ((kind, families, text, generation_id),) = first.errors
        assert kind == ending.error.__name__
        assert ending.family.__name__ in families
        assert (AirflowFailException.__name__ in families) == (ending.family is AirflowFailException)
        bought_before = ending.bought and ending.error is errors.AuthenticationError
        assert ("Generation ID-1 is bought already" if bought_before else ending.error.money) in text
        assert "return_value" not in found
        assert generation_id == "ID-1" or not issubclass(ending.error, errors.GenerationError)
    if ending.bought and ending.error is not errors.UnknownOutcomeError:
        assert found["generation_id"] in str(first.requests)
        assert found["estimated_time"] == 1
    else:
        assert found == {}


@pytest.mark.parametrize("name", MAPPED)
def test_a_mapped_task_ends_like_a_plain_one(name: str, ended: Run):
    """The first of two mapped tasks has the plain task's state and XComs, but for what tells pictures apart."""
    plain, mapped = (ended(name, "operator", True, mapped=mapped) for mapped in (False, True))
    xcoms = json.loads(json.dumps(plain.xcoms["gen", -1]).replace("ID-1", "ID0"))
    for record in xcoms.get("images", ()):
        record.update(bytes="some", sha256="some")
    assert mapped.xcoms["gen", 0] == xcoms
    assert mapped.states["gen", 0] == plain.states["gen", -1]
    assert [error[:2] for error in mapped.errors] == [error[:2] for error in plain.errors] * 2


@pytest.mark.parametrize("name", MAPPED)
def test_mapped_tasks_end_alike(name: str, ended: Run):
    """Two mapped tasks, four forms: each has its own generation, and all forms end alike."""
    outcomes = [ended(name, form, deferrable, mapped=True) for form, deferrable in FORMS]
    for outcome in outcomes[1:]:
        assert outcome == outcomes[0]
    first = outcomes[0]
    assert first.report["bought"] == 2
    assert first.report["violations"] == []
    assert [first.xcoms["gen", index]["generation_id"] for index in (0, 1)] == ["ID0", "ID1"]
    assert set(first.states.values()) == {"failed" if ENDINGS[name].error else "success"}
    assert len(first.errors) == (2 if ENDINGS[name].error else 0)


def test_records_say_what_was_made(ended: Run):
    """The XCom images holds one plain dict per image, in order, with what the issue lists."""
    outcome = ended("completed", "operator", True, mapped=False)
    found = outcome.xcoms["gen", -1]
    for index, (record, (name, content)) in enumerate(zip(found["images"], outcome.files.items(), strict=True)):
        generation_id = found["generation_id"]
        assert record == {
            "path": f"FOLDER/{name}",
            "url": f"SERVICE/images/{generation_id}_{index}.jpeg",
            "index": index,
            "generation_id": generation_id,
            "width": 96,
            "height": 54,
            "content_type": "image/jpeg",
            "bytes": len(content),
            "sha256": sha256(content).hexdigest(),
            "prompt": PROMPTS[0],
            "model_id": "0-24",
            "seconds": "some",
        }


def _connection(url: str, key: str) -> str:
    return json.dumps({"conn_type": "qwenimage", "host": url, "password": key})
