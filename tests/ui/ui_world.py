"""A real API server's application in this process, on a real database, with what tasks recorded."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import text
from starlette.testclient import TestClient

DAGS = Path(__file__).parent / "dags"
HOST = "http://airflow.example.com"


@dataclass
class World:
    """The application, and the run ids of the two DAGs."""

    app: Any
    runs: dict[str, str]

    @contextmanager
    def visitor(self, name: str | None = "ann", role: str | None = "VIEWER") -> Iterator[TestClient]:
        """A browser: logged in as somebody, or not at all."""
        client = TestClient(self.app, base_url=HOST, follow_redirects=False, raise_server_exceptions=False)
        if name:
            client.cookies.set("_token", token(name, role))
        yield client

    def place(self, dag_id: str = "ui_pictures", task_id: str = "make", map_index: int = -1) -> dict[str, Any]:
        return {"dag_id": dag_id, "run_id": self.runs[dag_id], "task_id": task_id, "map_index": map_index}

    def record(self, value: Any, **place: Any) -> None:
        """Put a value in place of a task instance's XCom ``images``."""
        self.record_raw(json.dumps(value), **place)

    def record_raw(self, raw: str, **place: Any) -> None:
        where = " and ".join(f"{name} = :{name}" for name in self.place(**place))
        with _engine().begin() as db:
            statement = text(f"update xcom set value = :raw where key = 'images' and {where}")
            assert db.execute(statement, {"raw": raw, **self.place(**place)}).rowcount == 1

    def forget(self) -> None:
        with _engine().begin() as db:
            db.execute(text("update xcom set value = '[]' where key = 'images'"))


def _engine() -> Any:
    from airflow import settings

    return settings.engine


def token(name: str, role: str | None) -> str:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    return get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role))


def run_dags(home: Path) -> dict[str, str]:
    """Run the two DAGs; returns their run ids."""
    shutil.copy(DAGS / "ui_pictures.py", home / "dags")
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag
    bag = DagBag(str(home / "dags"))
    return {dag_id: str(bag.dags[dag_id].test().run_id) for dag_id in ("ui_pictures", "ui_secret")}


def picture(kind: str = "PNG", size: tuple[int, int] = (64, 48)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (90, 120, 200)).save(out, kind)
    return out.getvalue()


def saved(path: Path, content: bytes | None = None, **more: Any) -> dict[str, Any]:
    """Save an image and return the record that an operator of ours would push."""
    content = picture() if content is None else content
    path.write_bytes(content)
    return {
        "path": str(path), "url": "https://img.example.com/a.png", "index": 0, "generation_id": "g" * 32,
        "width": 64, "height": 48, "content_type": "image/png", "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(), **more,
    }  # fmt: skip
