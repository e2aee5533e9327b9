"""The archives of a release: whoever builds them from the same files gets the same bytes."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    "QWENIMAGE_TEST_DIST" not in os.environ, reason="needs the built archives; `make test` has them"
)


def test_built_again_it_is_the_same(tmp_path: Path) -> None:
    """From the sdist, with other file times, by another process: the same wheel and the same sdist."""
    build_python = os.environ.get("QWENIMAGE_TEST_BUILDER", "")
    assert build_python, "`make test` names the Python that has the build tools"
    dist = Path(os.environ["QWENIMAGE_TEST_DIST"])
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path)
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    for path in source.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    command = [build_python, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"TZ": "Asia/Tokyo"})
    assert done.returncode == 0, done.stdout + done.stderr
    for file in (wheel, sdist):
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name
