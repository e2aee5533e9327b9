"""The README: every block of code in it is run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest
from airflow_runs import AirflowHere, whole_image

from airflow_provider_qwenimage import __version__
from airflow_provider_qwenimage.emulator import Emulator

README = Path(__file__).resolve().parent.parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


DAGS = [block for block in blocks("python") if "with DAG(" in block]
SCRIPTS = [block for block in blocks("python") if "with DAG(" not in block]
COMMANDS = [line for block in blocks("bash") for line in block.splitlines() if line.strip()]
CONNECTIONS = [line for line in COMMANDS if line.startswith("export ")]
INSTALLS = [line for line in COMMANDS if line.startswith("pip install ")]
EMULATORS = [line for line in COMMANDS if line.startswith("python -m ")]
TARGETS = [line for line in COMMANDS if line.startswith("make ")]


def test_every_block_is_of_a_kind_that_is_run():
    """No block of code escapes the tests below."""
    known = len(CONNECTIONS) + len(INSTALLS) + len(EMULATORS) + len(TARGETS)
    assert (len(COMMANDS), len(DAGS), len(SCRIPTS)) == (known, 2, 1)
    assert min(len(CONNECTIONS), len(INSTALLS), len(EMULATORS), len(TARGETS)) > 0
    languages = set(re.findall(r"^```(\w+)$", TEXT, re.MULTILINE))
    assert languages == {"bash", "python"}


@pytest.mark.parametrize("block", DAGS, ids=lambda block: re.search(r'dag_id="(\w+)"', block).group(1))
def test_a_dag_of_the_readme_makes_images(block: str, airflow: AirflowHere, service: Emulator, tmp_path: Path):
    """A DAG that is copied from the README runs to success and saves whole images."""
    dag_id = re.search(r'dag_id="(\w+)"', block).group(1)
    (airflow.folder / f"{dag_id}.py").write_text(block, encoding="utf-8")
    run = airflow.run(dag_id, output_path=f"file://{tmp_path}")
    assert run.state == "success"
    assert service.report()["bought"] == 1
    images = list(tmp_path.glob("*.jpeg"))
    assert images
    assert all(whole_image(path).size[0] for path in images)


@pytest.mark.parametrize("block", SCRIPTS)
def test_a_script_of_the_readme_runs(block: str, tmp_path: Path):
    """A script that is copied from the README runs as it stands; it asserts by itself."""
    script = tmp_path / "script.py"
    script.write_text(block, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "assert " in block


@pytest.mark.parametrize("command", CONNECTIONS)
def test_a_connection_of_the_readme_is_understood(command: str, monkeypatch: pytest.MonkeyPatch):
    """What the README exports is a connection of ours, to the real service."""
    from airflow_provider_qwenimage.hooks import QwenImageHook

    name = "AIRFLOW_CONN_QWENIMAGE_DEFAULT"
    shown = subprocess.run(
        [
            "bash",
            "-c",
            f"{command}\nexec {sys.executable} -c 'import json, os; print(json.dumps(os.environ[\"{name}\"]))'",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    monkeypatch.setenv(name, json.loads(shown.stdout))
    settings = QwenImageHook().get_settings()
    assert (settings.api_key, settings.base_url) == ("key_0123456789abcdef0123456789abcdef", "https://api.pixwith.ai")


@pytest.mark.parametrize("command", INSTALLS)
def test_an_install_command_names_this_package_and_its_extra(command: str):
    """The README installs what this is called, with an extra that it has."""
    name, extra = re.fullmatch(r"pip install '?([\w-]+)(?:\[(\w+)\])?'?", command).groups()
    found = metadata("airflow-provider-qwenimage")
    assert (name, found["Version"]) == (found["Name"], __version__)
    assert extra is None or extra in found.get_all("Provides-Extra")


@pytest.mark.parametrize("command", EMULATORS)
def test_an_emulator_command_starts_an_emulator(command: str):
    """The command of the README, on a free port, gets ready and ends when it is told to."""
    words = re.sub(r"--port \d+", "--port 0", command).split()
    with subprocess.Popen([sys.executable, *words[1:]], stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        line = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert "ready at http://127.0.0.1:" in line
        assert process.wait(10) == 0


def test_the_readme_names_what_there_is():
    """Every name in the table of public names can be imported, every file in the map exists."""
    from importlib import import_module

    package = Path(import_module("airflow_provider_qwenimage").__file__).parent
    names = re.findall(r"^\| `(\w+)\.(\w+)`", TEXT, re.MULTILINE)
    assert len(names) > 8
    for module, name in names:
        if module != "retry_policies" or _has_retry_policies():
            assert hasattr(import_module(f"airflow_provider_qwenimage.{module}"), name), name
    where = TEXT[TEXT.index("## Where is") : TEXT.index("## Develop\n")]
    files = re.findall(r"`([\w/]+\.py)`", where)
    assert len(files) > 10
    assert not [file for file in files if not (package / file).exists() and not (package / "emulator" / file).exists()]


def _has_retry_policies() -> bool:
    try:
        from airflow.sdk import RetryPolicy  # noqa: F401
    except ImportError:
        return False
    return True


def test_the_commands_of_the_readme_exist():
    """The two commands are targets of the Makefile; what they do is tested by calling them."""
    makefile = README.parent / "Makefile"
    targets = {line.split()[1] for line in TARGETS}
    assert targets == {"demo", "test"}
    assert targets <= set(re.findall(r"^(\w+):", makefile.read_text(encoding="utf-8"), re.MULTILINE))
