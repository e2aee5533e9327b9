"""Fixtures of the images page; its application exists from Airflow 3.1 on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_qwenimage.ui.plugin import AVAILABLE

if TYPE_CHECKING:
    from starlette.testclient import TestClient
    from ui_world import World

if not AVAILABLE:
    collect_ignore = ["dags", *(f"test_ui_{name}.py" for name in ("access", "files", "pages", "browser", "databases"))]


@pytest.fixture(scope="session")
def shared_world(airflow_db: Path) -> Iterator[World]:
    from ui_world import World, run_dags

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "ui_denying.DenyingAuthManager")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ann:viewer,admin:admin")
        runs = run_dags(airflow_db)
        from airflow.api_fastapi.app import create_app, purge_cached_app

        yield World(create_app(apps="core"), runs)
        purge_cached_app()


@pytest.fixture
def world(shared_world: World) -> World:
    """The application with two DAGs that recorded nothing, and nobody denied."""
    from ui_denying import DenyingAuthManager

    DenyingAuthManager.denied.clear()
    shared_world.forget()
    return shared_world


@pytest.fixture
def ann(world: World) -> Iterator[TestClient]:
    """The browser of somebody who may read all."""
    with world.visitor() as client:
        yield client
