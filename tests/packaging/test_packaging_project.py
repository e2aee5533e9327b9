"""The files that only others run: the workflow, the compose file, the dev container, and the matrix that they name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_qwenimage.emulator.options import DEFAULT_API_KEY

ROOT = Path(__file__).resolve().parent.parent.parent


def matrix() -> dict[str, Any]:
    """What `scripts/cells.py` says, told by a process of its own."""
    tell = (
        "import json, cells; print(json.dumps([cells.PYTHONS, cells.NEWEST, cells.OLDEST, cells.LOWEST, cells.SMOKE]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", tell], cwd=ROOT / "scripts", capture_output=True, text=True, timeout=60, check=True
    )
    return dict(zip(("pythons", "newest", "oldest", "lowest", "smoke"), json.loads(run.stdout), strict=True))


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_every_airflow_of_the_matrix_has_its_pins() -> None:
    cells = matrix()
    pins = {path.stem.removeprefix("airflow-") for path in (ROOT / "constraints").glob("airflow-*.txt")}
    assert pins == set(cells["pythons"])
    for airflow in pins:
        lines = (ROOT / "constraints" / f"airflow-{airflow}.txt").read_text(encoding="utf-8").splitlines()
        assert f"apache-airflow=={airflow}" in lines
        # Where packages come from is everybody's own business: an index has no place in a pin.
        assert not [line for line in lines if "://" in line or line.startswith("-")]


def test_smoke_tests_are_there() -> None:
    named = [each.partition("::") for each in matrix()["smoke"] if each.startswith("tests/")]
    assert len(named) > 5
    for file, _, test in named:
        assert (ROOT / file).exists(), file
        assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8")


def test_workflow_runs_what_people_run() -> None:
    cells, jobs = matrix(), load(".github/workflows/ci.yml")["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == cells["pythons"][cells["newest"]]
    assert ".ci/run" in [step.get("run") for step in jobs["test"]["steps"]]
    assert set(jobs["matrix"]["strategy"]["matrix"]["airflow"]) == set(cells["pythons"])
    pythons = jobs["matrix"]["steps"][1]["with"]["python-version"].split()
    assert sorted(pythons) == sorted(cells["pythons"][cells["newest"]])


def test_compose_file_has_an_airflow_that_finds_the_emulator() -> None:
    services = load("compose.yaml")["services"]
    airflow, emulator = services["airflow"], services["emulator"]
    assert airflow["image"].partition(":")[2].startswith(matrix()["newest"])
    connection = json.loads(airflow["environment"]["AIRFLOW_CONN_QWENIMAGE_DEFAULT"])
    assert connection["host"] == "http://emulator"
    assert f"--port {connection['port']}" in emulator["command"]
    assert connection["password"] == DEFAULT_API_KEY
    assert all(port.startswith("127.0.0.1:") for port in airflow["ports"])
    mounted = {volume.split(":")[0] for service in services.values() for volume in service["volumes"]}
    assert all((ROOT / folder).is_dir() for folder in mounted)


def test_dev_container_installs_with_our_command() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    target = container["postCreateCommand"].removeprefix("make ")
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    version = re.search(r"python:(3\.\d+)", container["image"])
    assert version
    assert version[1] in matrix()["pythons"][matrix()["newest"]]
    needed = (ROOT / "scripts" / "debian.py").read_text(encoding="utf-8")
    packages = re.findall(r'^    "([\w-]+)": "', needed, re.MULTILINE)
    assert packages
    assert all(package in container["onCreateCommand"] for package in packages)
