"""What may import what. It is looked at twice: what the files say (functions included), and what really gets loaded."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_qwenimage

PACKAGE = "airflow_provider_qwenimage"
FOLDER = Path(airflow_provider_qwenimage.__file__).parent
HEAVY = {"airflow", "requests", "aiohttp", "pydantic"}


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh Python has loaded after `code`."""
    tell = "import json, sys; print(json.dumps(list(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def test_nobody_is_warned_of_the_models():
    """Importing them warns of nothing, with the oldest pydantic either."""
    command = [sys.executable, "-W", "error::UserWarning", "-c", f"import {PACKAGE}.api.models"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def roots(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}:{node.lineno} imports relatively"
            # `from package import module` too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(layer: str) -> list[Path]:
    found = sorted((FOLDER / layer).rglob("*.py"))
    assert found
    return found


def modules_of(layer: str) -> list[str]:
    paths = (file.relative_to(FOLDER.parent).with_suffix("") for file in files_of(layer))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__"]


def test_what_airflow_loads_in_every_process_loads_nothing() -> None:
    loaded = loaded_by(f"from {PACKAGE}.provider_info import get_provider_info; get_provider_info()")
    assert not roots(loaded) & HEAVY
    assert {module for module in loaded if module.startswith(PACKAGE)} == {PACKAGE, f"{PACKAGE}.provider_info"}


@pytest.mark.parametrize("layer", ["api", "emulator"])
def test_layer_loads_no_airflow(layer: str) -> None:
    assert "airflow" not in roots(loaded_by(f"import {', '.join(modules_of(layer))}"))


@pytest.mark.parametrize("layer", ["api", "emulator"])
def test_layer_imports_no_airflow(layer: str) -> None:
    for file in files_of(layer):
        assert "airflow" not in roots(set(imports(file))), file


def test_api_knows_only_itself() -> None:
    assert not strangers("api", allowed={f"{PACKAGE}.__version__"})


def test_emulator_knows_only_itself() -> None:
    # Were a field misspelt in a model that both sides use, no test would see it.
    assert not strangers("emulator", allowed={f"{PACKAGE}.__version__"})


def test_triggers_buy_nothing() -> None:
    """A trigger may be started again or twice, so none of them may call what submits."""
    files = [file for file in FOLDER.rglob("*trigger*.py") if file.is_file()]
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("create", "create_task"):
                assert isinstance(node.value, ast.Name), f"{file.name}:{node.lineno}"
                assert node.value.id == "asyncio", f"{file.name}:{node.lineno} submits"


def strangers(layer: str, allowed: set[str]) -> set[str]:
    """What a layer imports of ours outside itself."""
    ours = {name for file in files_of(layer) for name in imports(file) if roots({name}) == {PACKAGE}}
    return {name for name in ours - allowed if not f"{name}.".startswith(f"{PACKAGE}.{layer}.")}
