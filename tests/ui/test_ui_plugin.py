"""The plugin, in every version of Airflow: there from 3.1 on, and never in the way."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from airflow_provider_qwenimage.ui.plugin import AVAILABLE, QwenImagePlugin
from airflow_provider_qwenimage.ui.urls import Place, images_url


def test_registered() -> None:
    """By an entry point: with Airflow's defaults, plugins in a provider's info are not loaded on any version."""
    (found,) = {entry.value for entry in entry_points(group="airflow.plugins") if entry.name == "qwenimage"}
    assert found == "airflow_provider_qwenimage.ui.plugin:QwenImagePlugin"


def test_what_is_registered() -> None:
    if not AVAILABLE:
        assert (QwenImagePlugin.fastapi_apps, QwenImagePlugin.external_views) == ([], [])
        return
    assert [app["url_prefix"] for app in QwenImagePlugin.fastapi_apps] == ["/qwenimage"]
    assert [view["destination"] for view in QwenImagePlugin.external_views] == ["nav"]


def test_loads_next_to_nothing() -> None:
    code = (
        "import sys, airflow.plugins_manager as _; before = set(sys.modules)\n"
        "import airflow_provider_qwenimage.ui.plugin\n"
        "print('\\n'.join(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = [name for name in run.stdout.split() if name.partition(".")[0] != "airflow_provider_qwenimage"]
    assert new == []


@pytest.mark.parametrize(
    ("version", "available"),
    [("2.11.2", False), ("3.0.6", False), ("3.1.0", True), ("3.3.2", True), ("3.10.0.dev0", True), ("4.0", True)],
)
def test_versions(version: str, available: bool) -> None:
    code = (
        f"import airflow; airflow.__version__ = {version!r}\n"
        "import airflow_provider_qwenimage.ui.plugin as p; print(p.AVAILABLE, len(p.QwenImagePlugin.fastapi_apps))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-2:] == [str(available), str(int(available))]


@pytest.mark.parametrize(
    ("base_url", "start"),
    [
        ("", ""), ("http://localhost:8080", ""), ("https://a.example.com/team/airflow/", "/team/airflow"),
        ("/airflow", "/airflow"),
    ],
)  # fmt: skip
def test_images_url(monkeypatch: pytest.MonkeyPatch, base_url: str, start: str) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    page = f"{start}/qwenimage/dags/d.x/images?run_id=manual__1%2B00%3A00%2F%26&task_id=g.t"
    assert images_url("d.x", "manual__1+00:00/&", "g.t") == page
    assert images_url("d.x", "manual__1+00:00/&", "g.t", -1) == page
    assert images_url("d.x", "manual__1+00:00/&", "g.t", 3) == f"{page}&map_index=3"
    assert images_url("d.x") == f"{start}/qwenimage/dags/d.x/images"


def test_airflows_own_pages() -> None:
    assert Place("d", "r:1", "t", 2).in_airflow() == "/dags/d/runs/r%3A1/tasks/t/mapped/2"
    assert Place("d", "r", "t", -1).in_airflow() == "/dags/d/runs/r/tasks/t"
    assert Place("d", "r").in_airflow() == "/dags/d/runs/r"
    assert Place("d").in_airflow() == "/dags/d"
    assert Place("d", None, "t").in_airflow() == "/dags/d"
