"""What is in the wheel and in the sdist that `make test` built, and that the tests run on that wheel."""

from __future__ import annotations

import os
import re
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest

import airflow_provider_qwenimage

PACKAGE = "airflow_provider_qwenimage"
VERSION = airflow_provider_qwenimage.__version__
ROOT = Path(__file__).resolve().parent.parent.parent
DIST = Path(os.environ.get("QWENIMAGE_TEST_DIST", ""))
BASE = {"apache-airflow", "requests", "pydantic", "aiohttp", "asgiref", "jinja2", "tenacity", "urllib3", "yarl"}

pytestmark = pytest.mark.skipif(
    "QWENIMAGE_TEST_DIST" not in os.environ, reason="needs the built archives; `make test` has them"
)


@pytest.fixture(scope="module")
def wheel() -> zipfile.ZipFile:
    (file,) = DIST.glob("*.whl")
    assert file.name == f"{PACKAGE}-{VERSION}-py3-none-any.whl"
    return zipfile.ZipFile(file)


@pytest.fixture(scope="module")
def description(wheel: zipfile.ZipFile) -> Message:
    return Parser().parsestr(wheel.read(f"{PACKAGE}-{VERSION}.dist-info/METADATA").decode())


def test_the_tests_run_on_the_installed_wheel() -> None:
    # A source tree within reach would hide a file that the wheel lacks.
    assert Path(airflow_provider_qwenimage.__file__).is_relative_to(sysconfig.get_path("purelib"))
    assert "editable" not in (metadata.distribution("airflow-provider-qwenimage").read_text("direct_url.json") or "")


def test_wheel_has_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {PACKAGE, f"{PACKAGE}-{VERSION}.dist-info"}


def test_wheel_has_types_and_licence(wheel: zipfile.ZipFile) -> None:
    assert f"{PACKAGE}/py.typed" in wheel.namelist()
    licence = wheel.read(f"{PACKAGE}-{VERSION}.dist-info/licenses/LICENSE").decode()
    assert "Apache License\n                        Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence


def test_description(description: Message) -> None:
    assert description["Name"] == "airflow-provider-qwenimage"
    assert description["Version"] == VERSION
    assert description["License-Expression"] == "Apache-2.0"
    assert description["Requires-Python"] == ">=3.10"


def test_registries_find_what_they_read(description: Message, wheel: zipfile.ZipFile) -> None:
    """Airflow's and Astronomer's lists go by the classifier and the keywords, and show the examples in the package."""
    classifiers = description.get_all("Classifier", [])
    assert {"Framework :: Apache Airflow", "Framework :: Apache Airflow :: Provider"} <= set(classifiers)
    assert {"airflow", "airflow-provider"} <= set(description["Keywords"].split(","))
    assert description.get_all("Project-URL")
    inside = f"{PACKAGE}/example_dags/"
    shown = {name.removeprefix(inside) for name in wheel.namelist() if name.startswith(inside)}
    assert shown == {path.name for path in (ROOT / "example_dags").glob("*.py")}


def test_base_requirements_are_few(description: Message) -> None:
    required = description.get_all("Requires-Dist", [])
    base = {re.split(r"[^\w-]", each)[0] for each in required if "extra ==" not in each}
    assert base == BASE
    emulator = {re.split(r"[^\w-]", each)[0] for each in required if "extra ==" in each}
    assert emulator
    assert not emulator & base


def test_sdist_has_what_a_packager_needs() -> None:
    (file,) = DIST.glob("*.tar.gz")
    top = f"{PACKAGE}-{VERSION}"
    assert file.name == f"{top}.tar.gz"
    with tarfile.open(file) as archive:
        names = {name.removeprefix(f"{top}/") for name in archive.getnames()}
    papers = {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    alone = papers | {"Makefile", "PKG-INFO", "compose.yaml", "noxfile.py", "pyproject.toml"}
    assert alone <= names
    folders = {name.partition("/")[0] for name in names} - alone - {".gitignore"}
    tools = {".devcontainer", ".github", "constraints", "scripts"}
    assert folders == {PACKAGE, "docs", "example_dags", "tests", *tools}
    assert not [name for name in names if "__pycache__" in name]
