"""Poke, reschedule and deferrable mode: one result, one error, one reaction to soft_fail and never_fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from airflow_runs import AirflowHere, Run, gets

from airflow_provider_qwenimage._compat import AIRFLOW_3, AirflowFailException, AirflowSensorTimeout
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook

MODES = ("poke", "reschedule", "deferrable")
SETTINGS = ("plain", "soft_fail", "never_fail")
GENERATION = "{generation_id}"


@dataclass(frozen=True)
class Ending:
    """How a wait ends: the error's class and what it says; no class for success."""

    kind: type[Exception] | None = None
    family: type[Exception] = AirflowFailException
    says: str = ""
    timeout: int = 30
    create_fault: dict[str, Any] | None = None
    get_faults: tuple[dict[str, Any], ...] = ()
    conn: dict[str, str] | None = None
    grace: float = 0.0


# The first poll finds the generation in processing, whatever it is.
NOT_YET = {"kind": "data", "set": {"status": 1}, "delete": ["result_urls"]}
BUSY = {"kind": "http_error", "status": 503, "body": "text"}
WRONG_KEY = {"kind": "refuse", "message": "Invalid API KEY"}
NOT_FOUND = {"kind": "refuse", "message": "Task not found"}
LATER = {"skip": 1, "times": 100}

ENDINGS = {
    "completed": Ending(),
    "completed later": Ending(get_faults=(NOT_YET,)),
    "failed": Ending(
        errors.GenerationFailedError,
        says=f"Generation {GENERATION} failed at the service, which gives no reason.",
        create_fault={"kind": "fail"},
    ),
    "failed later": Ending(
        errors.GenerationFailedError,
        says=f"Generation {GENERATION} failed at the service, which gives no reason.",
        create_fault={"kind": "fail"},
        get_faults=(NOT_YET,),
    ),
    "no images": Ending(
        errors.NoImagesError,
        says=f"Generation {GENERATION} is completed but has no images.",
        create_fault={"kind": "missing_urls", "urls": "null"},
    ),
    "no images later": Ending(
        errors.NoImagesError,
        says=f"Generation {GENERATION} is completed but has no images.",
        create_fault={"kind": "missing_urls", "urls": "empty"},
        get_faults=(NOT_YET,),
    ),
    "wrong key": Ending(
        errors.AuthenticationError,
        says="The service refused the get.",
        get_faults=({**WRONG_KEY, "times": 100},),
    ),
    "wrong key later": Ending(
        errors.AuthenticationError,
        says="The service refused the get.",
        create_fault={"kind": "stuck"},
        get_faults=({**WRONG_KEY, **LATER},),
    ),
    "not found": Ending(
        errors.NotFoundError,
        says="The service refused the get.",
        get_faults=({**NOT_FOUND, "times": 100},),
    ),
    "not found later": Ending(
        errors.NotFoundError,
        says="The service refused the get.",
        create_fault={"kind": "stuck"},
        get_faults=({**NOT_FOUND, **LATER},),
    ),
    "not found at first": Ending(get_faults=({**NOT_FOUND, "times": 3},), grace=60),
    "not found and too old": Ending(
        errors.NotFoundError,
        says="The service refused the get.",
        get_faults=({**NOT_FOUND, "times": 100},),
        grace=0.5,
    ),
    "timeout": Ending(
        errors.GenerationTimeoutError,
        AirflowSensorTimeout,
        says=rf"Stopped waiting for generation {GENERATION} after \d s: it is (still processing|not completed).",
        create_fault={"kind": "stuck"},
        timeout=1,
    ),
    "completed later, after polls that fail": Ending(
        get_faults=(
            NOT_YET,
            {**BUSY, "skip": 1, "times": 2},
            {"kind": "close_after", "skip": 3},
            {"kind": "html", "skip": 4},
            {"kind": "malformed", "skip": 5},
        ),
    ),
    "no key": Ending(
        errors.InvalidSettingsError,
        says="The Airflow connection 'qwenimage_default' can't be used: There is no API key.",
        conn={"AIRFLOW_CONN_QWENIMAGE_DEFAULT": "qwenimage://127.0.0.1"},
    ),
}


@pytest.fixture
def wait(
    airflow: AirflowHere, start: Callable[..., Emulator], soon_deferred: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str, str], tuple[Run, str, Emulator]]:
    """Run one sensor into one ending."""

    def run_it(name: str, mode: str, setting: str) -> tuple[Run, str, Emulator]:
        ending = ENDINGS[name]
        monkeypatch.setattr("airflow_provider_qwenimage.api.waiting.NOT_FOUND_GRACE", ending.grace)
        emulator = start()
        if ending.create_fault:
            emulator.plan("create", **ending.create_fault)
        generation_id = _submit()
        for fault in ending.get_faults:
            emulator.plan("get", **fault)
        for variable, value in (ending.conn or {}).items():
            monkeypatch.setenv(variable, value)
        run = airflow.run(f"waiting_{ending.timeout}s", only=f"{mode}_{setting}", generation_id=generation_id)
        return run, generation_id, emulator

    return run_it


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ENDINGS)
def test_every_mode_ends_the_same(name: str, mode: str, wait: Callable[..., Any], caplog: pytest.LogCaptureFixture):
    """Whatever happens to the generation, the mode of the wait makes no difference to the result or the error."""
    if (name, mode, AIRFLOW_3) == ("not found and too old", "reschedule", False):
        pytest.skip("dag.test() of 2.11 keeps no start date over reschedules, unlike its scheduler")
    run, generation_id, emulator = wait(name, mode, "plain")
    ending, task = ENDINGS[name], f"{mode}_plain"
    assert emulator.report()["violations"] == []
    if mode != "deferrable" or "later" in name:
        assert ("running trigger in line" in caplog.text) == (mode == "deferrable")
    if ending.kind is None:
        assert run.state_of(task) == "success"
        assert _is_urls(run.xcom(task), emulator, generation_id)
        return
    assert run.state_of(task) == "failed"
    error = run.error(task)
    assert type(error).__name__ == ending.kind.__name__
    assert isinstance(error, ending.kind)
    assert isinstance(error, ending.family)
    assert re.match(ending.says.format(generation_id=generation_id), str(error))
    assert error.money
    assert error.money in str(error)
    if isinstance(error, errors.GenerationError):
        assert error.generation_id == generation_id


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("setting", ["soft_fail", "never_fail"])
@pytest.mark.parametrize("name", ["completed", "failed", "wrong key later", "timeout"])
def test_soft_and_never_failing_skip_alike(name: str, setting: str, mode: str, wait: Callable[..., Any]):
    """soft_fail and never_fail turn each failure into a skip in every mode, and leave success alone."""
    run, generation_id, emulator = wait(name, mode, setting)
    task = f"{mode}_{setting}"
    if ENDINGS[name].kind is None:
        assert _is_urls(run.xcom(task), emulator, generation_id)
        return
    assert run.state_of(task) == "skipped"
    assert run.xcom(task) is None


def _submit() -> str:
    from airflow_provider_qwenimage.api.models import GenerationRequest

    return QwenImageHook().create_task(GenerationRequest(prompt="a kite", num_outputs=2)).generation_id


def _is_urls(value: Any, emulator: Emulator, generation_id: str) -> bool:
    assert gets(emulator) > 0
    assert type(value) is list
    assert len(value) == 2
    return all(url.startswith(f"{emulator.url}/images/{generation_id}_") for url in value)
