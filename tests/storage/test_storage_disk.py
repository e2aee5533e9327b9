"""Local folders that can't take an image: a clear OSError, nothing half written, and what could be saved is there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from dags_made_here import Bench, files_in

from airflow_provider_qwenimage.emulator import Emulator


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_full_disk(deferrable: bool, bench: Bench, service: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The disk is full in the middle of the third image of three: two are there whole, and no part of the third."""
    copy, copied = shutil.copyfileobj, []

    def copy_until_full(source: Any, target: Any, length: int = 0) -> None:
        copied.append(target)
        if len([file for file in copied if ".qwenimage/" not in file.name]) <= 2:
            return copy(source, target, length)
        target.write(source.read(100))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target.name)

    monkeypatch.setattr(shutil, "copyfileobj", copy_until_full)
    run = bench.generate(num_outputs=3, output_path=str(tmp_path), deferrable=deferrable)
    error = run.error("gen")
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC
    assert str(tmp_path) in str(error)
    records = run.xcom("gen", "images")
    assert {record["path"] for record in records} == {str(tmp_path / name) for name in files_in(tmp_path)}
    assert len(records) == 2
    assert service.report()["bought"] == 1


def test_folder_that_is_none(bench: Bench, service: Emulator, tmp_path: Path):
    """An output_path below a file fails with an OSError that names it."""
    (tmp_path / "file").touch()
    run = bench.generate(output_path=str(tmp_path / "file" / "images"))
    assert run.state == "failed"
    assert isinstance(run.error("gen"), OSError)
    assert str(tmp_path / "file") in str(run.error("gen"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(bench: Bench, service: Emulator, tmp_path: Path):
    """A folder without write permission fails with a PermissionError."""
    tmp_path.chmod(0o500)
    try:
        assert isinstance(bench.generate(output_path=str(tmp_path)).error("gen"), PermissionError)
    finally:
        tmp_path.chmod(0o700)
