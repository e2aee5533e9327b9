"""Airflow finds the provider and everything that it announces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module, metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_provider_qwenimage
from airflow_provider_qwenimage.provider_info import get_provider_info

DISTRIBUTION = "airflow-provider-qwenimage"
INFO = get_provider_info()


def airflow_providers(command: str, home: Path) -> list[dict[str, Any]]:
    """What `airflow providers COMMAND` lists, in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    run = subprocess.run(
        [sys.executable, "-m", "airflow", "providers", command, "--output", "json"],
        env=kept | {"AIRFLOW_HOME": os.fspath(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # Some versions warn on stdout before they answer.
    listed: list[dict[str, Any]] = json.loads(next(x for x in run.stdout.splitlines() if x.startswith("[{")))
    return listed


def test_provider_info_is_what_this_airflow_accepts() -> None:
    schema = json.loads((files("airflow") / "provider_info.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(INFO, schema)


def test_entry_point_leads_to_the_provider_info() -> None:
    (entry_point,) = metadata.distribution(DISTRIBUTION).entry_points.select(group="apache_airflow_provider")
    assert entry_point.load() is get_provider_info
    # Airflow ignores a provider whose name is not its distribution's.
    assert INFO["package-name"] == DISTRIBUTION


def test_there_is_one_version() -> None:
    assert metadata.version(DISTRIBUTION) == airflow_provider_qwenimage.__version__
    assert INFO["versions"] == [airflow_provider_qwenimage.__version__]


@pytest.mark.parametrize("role", ["hooks", "operators", "sensors", "triggers"])
def test_announced_modules_can_be_imported(role: str) -> None:
    for entry in INFO[role]:
        for module in entry["python-modules"]:
            import_module(module)


def test_announced_transfers_can_be_imported() -> None:
    for transfer in INFO["transfers"]:
        import_module(transfer["python-module"])


def test_announced_classes_are_there() -> None:
    for path in [c["hook-class-name"] for c in INFO["connection-types"]] + INFO["extra-links"]:
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(import_module(module), name), type)


def test_airflow_lists_the_provider(tmp_path: Path) -> None:
    (ours,) = (each for each in airflow_providers("list", tmp_path) if each["package_name"] == DISTRIBUTION)
    assert ours["version"].strip() == airflow_provider_qwenimage.__version__


def test_airflow_lists_the_connection_type(tmp_path: Path) -> None:
    (ours,) = (each for each in airflow_providers("hooks", tmp_path) if each["connection_type"] == "qwenimage")
    assert ours["package_name"] == DISTRIBUTION
    assert ours["hook_name"] == INFO["connection-types"][0]["hook-name"]
    assert ours["conn_id_attribute_name"] == "qwenimage_conn_id"


def test_airflow_lists_the_links(tmp_path: Path) -> None:
    listed = {each["extra_link_class_name"] for each in airflow_providers("links", tmp_path)}
    assert set(INFO["extra-links"]) <= listed
