"""Sync and deferrable: one outcome, whatever happens at the service. Every ending that the manifest knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_tries import Tries, books, plain

from airflow_provider_qwenimage._compat import AirflowFailException
from airflow_provider_qwenimage.emulator import Emulator

# What is planned at the service, what is asked for, and the outcomes of five requests, one after the other.
ENDINGS: dict[str, tuple[dict[str, Any] | None, dict[str, Any], str]] = {
    "saved": (None, {"num_outputs": 2}, "saved saved saved saved saved"),
    "failed": ({"kind": "fail"}, {}, "failed saved saved saved saved"),
    "rejected": ({"kind": "refuse", "message": "Invalid image url"}, {}, "rejected saved saved saved saved"),
    "unknown": ({"kind": "close_after"}, {}, "unknown saved saved saved saved"),
    "missing images": ({"kind": "missing_urls"}, {"num_outputs": 2}, "missing_images saved saved saved saved"),
    "no images": ({"kind": "missing_urls", "urls": "null"}, {}, "failed saved saved saved saved"),
    "never ends": ({"kind": "stuck"}, {"timeout": 1.5}, "timeout saved saved saved saved"),
    "kept": ({"kind": "fail"}, {"on_failure": "keep"}, "failed saved saved saved saved"),
    "credits run out": (
        {"kind": "refuse", "message": "Credits not enough", "skip": 2, "times": 99},
        {},
        "saved saved not_submitted not_submitted not_submitted",
    ),
    "key refused": (
        {"kind": "refuse", "message": "Invalid API KEY", "status": 401, "skip": 2, "times": 99},
        {},
        "saved saved not_submitted not_submitted not_submitted",
    ),
    "broken image": (
        {"endpoint": "image", "kind": "truncated_image", "times": 9999},
        {},
        "not_saved not_saved not_saved not_saved not_saved",
    ),
    "too few credits": (None, {"min_credits": 5000}, ""),
    "a bad row": (None, {"requests": ["a", {"prompt": "b", "num_outputs": "{{ 9 }}"}]}, ""),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_sync_and_deferrable_end_alike(name: str, start: Callable[..., Emulator], tmp_path: Path):
    """Equal XComs, manifests, files, errors and purchases, in the first try and in the next one."""
    first, second = (_outcome(name, deferrable, start, tmp_path / str(deferrable)) for deferrable in (False, True))
    assert first == second
    assert " ".join(first[0]["outcomes"]) == ENDINGS[name][2]


def _outcome(name: str, deferrable: bool, start: Callable[..., Emulator], folder: Path) -> list[dict[str, Any]]:
    fault, arguments, _ = ENDINGS[name]
    emulator = start(duration=0.3)
    if fault:
        emulator.state.plan({"endpoint": "create", **fault})
    run = Tries(
        {
            "requests": [{"prompt": f"picture {i}", "key": f"k{i}"} for i in range(5)],
            "max_active": 1,
            "output_path": str(folder),
            "file_name": "{key}-{index}.{ext}",
            "deferrable": deferrable,
            **arguments,
        }
    )
    told = [_told(run, emulator, folder) for _ in range(2)]
    assert (run.deferrals > 0) == (deferrable and emulator.report()["bought"] > 0)
    return told


def _told(run: Tries, emulator: Emulator, folder: Path) -> dict[str, Any]:
    run.next()
    lines = run.lines if list(folder.glob("manifest-*")) else []
    return {
        "error": plain(str(run.error), emulator, folder),
        "final": isinstance(run.error, AirflowFailException),
        "xcoms": plain(run.ti.xcoms, emulator, folder),
        "manifest": plain(lines, emulator, folder),
        "outcomes": [line["outcome"] for line in lines],
        "files": sorted(path.name for path in folder.glob("*.jpeg")),
        "books": books(emulator),
    }
