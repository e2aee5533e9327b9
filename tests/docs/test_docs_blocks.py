"""README and docs: every block of code in them is run, or is an excerpt of a file that is run."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from airflow_runs import AirflowHere, whole_image
from docs_pages import ROOT, Block, blocks

from airflow_provider_qwenimage import __version__
from airflow_provider_qwenimage.emulator import Emulator

BLOCKS = blocks()
PYTHON = [block for block in BLOCKS if block.kind == "python"]
EXCERPTS = [block for block in PYTHON if block.source]
OWN = [block for block in PYTHON if not block.source]
TESTS = [block for block in OWN if "\ndef test_" in block.text]
DAGS = [block for block in OWN if "with DAG(" in block.text and block not in TESTS]
SCRIPTS = [block for block in OWN if block not in (*DAGS, *TESTS)]
LINES = [(block.page, line) for block in BLOCKS if block.kind == "bash" for line in block.text.splitlines() if line]
COMMANDS = list(dict.fromkeys(line.partition("  #")[0].strip() for _, line in LINES))


def starting_with(*words: str) -> list[str]:
    return [command for command in COMMANDS if shlex.split(command)[: len(words)] == list(words)]


CONNECTIONS = starting_with("export")
INSTALLS = starting_with("pip", "install")
EMULATORS = starting_with("python", "-m", "airflow_provider_qwenimage.emulator")
TARGETS = starting_with("make")
AIRFLOW = starting_with("airflow")


def dag_id_of(block: Block) -> str:
    return re.search(r'dag_id="(\w+)"', block.text).group(1)


def on_page(block: Block) -> str:
    return f"{block.page}-{dag_id_of(block) if block in DAGS else block.text.strip().splitlines()[0][:40]}"


def test_every_block_is_of_a_kind_that_is_run():
    """No block of code escapes the tests below."""
    kinds = (CONNECTIONS, INSTALLS, EMULATORS, TARGETS, AIRFLOW)
    assert sorted(COMMANDS) == sorted(chain(*kinds))
    assert all([*kinds, DAGS, SCRIPTS, TESTS, EXCERPTS])
    assert {block.kind for block in BLOCKS} <= {"bash", "python", "", "{eval-rst}"}
    assert not [block.page for block in BLOCKS if block.kind == "" and re.search(r"import |=|\$", block.text)]


@pytest.mark.parametrize("block", EXCERPTS, ids=on_page)
def test_an_excerpt_is_what_the_tested_file_says(block: Block):
    """An excerpt of an example stands in the example, line by line; other tests run that."""
    assert block.source.startswith(("example_dags/", "tests/docs/dags/"))
    assert block.text in (ROOT / block.source).read_text(encoding="utf-8")
    ast.parse(textwrap.dedent(block.text))


@pytest.mark.parametrize("block", DAGS, ids=on_page)
def test_a_dag_of_the_pages_makes_images(block: Block, airflow: AirflowHere, service: Emulator, tmp_path: Path):
    """A DAG that is copied from a page runs to success and saves whole images."""
    (airflow.folder / f"{dag_id_of(block)}.py").write_text(block.text, encoding="utf-8")
    run = airflow.run(dag_id_of(block), output_path=f"file://{tmp_path}")
    assert run.state == "success"
    images = list(tmp_path.glob("*.jpeg"))
    assert len(images) == service.report()["images_served"] > 0
    assert all(whole_image(path).size[0] for path in images)


@pytest.mark.parametrize("block", SCRIPTS, ids=on_page)
def test_a_script_of_the_pages_runs(block: Block, tmp_path: Path):
    """A script that is copied from a page runs as it stands; it asserts by itself."""
    script = tmp_path / "script.py"
    script.write_text(block.text, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, cwd=tmp_path)
    # Airflow 2 warns of itself, and Airflow 3.1 tells on stderr what it does with its new database.
    of_airflow = ("RemovedInAirflow3Warning", "[info ", "empty cryptography key")
    complaints = [line for line in done.stderr.splitlines() if not any(words in line for words in of_airflow)]
    assert (done.returncode, complaints) == (0, [])
    assert "assert " in block.text


@pytest.mark.parametrize("block", TESTS, ids=on_page)
def test_a_test_of_the_pages_passes(block: Block, airflow: AirflowHere, tmp_path: Path):
    """Tests that are copied from a page pass, in a pytest of their own, on the DAG of the quick start."""
    (dag,) = [each for each in DAGS if each.page == "docs/quickstart.md"]
    installed = airflow.home / "dags" / f"{dag_id_of(dag)}.py"
    installed.write_text(dag.text, encoding="utf-8")
    (tmp_path / "test_copied.py").write_text(block.text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_copied.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    installed.unlink()
    assert done.returncode == 0, done.stdout
    assert f"{block.text.count('def test_')} passed" in done.stdout


@pytest.mark.parametrize("command", CONNECTIONS)
def test_a_connection_of_the_pages_is_understood(command: str, monkeypatch: pytest.MonkeyPatch):
    """What a page exports is a connection of ours, to the real service or to an emulator."""
    from airflow_provider_qwenimage.emulator.options import DEFAULT_API_KEY
    from airflow_provider_qwenimage.hooks import QwenImageHook

    monkeypatch.setenv("AIRFLOW_CONN_QWENIMAGE_DEFAULT", exported(command))
    settings = QwenImageHook().get_settings()
    assert (settings.api_key, settings.base_url) in {
        ("key_0123456789abcdef0123456789abcdef", "https://api.pixwith.ai"),
        (DEFAULT_API_KEY, "http://127.0.0.1:8089"),
    }


def exported(command: str) -> str:
    """What bash makes of an export."""
    show = "import json, os; print(json.dumps(os.environ['AIRFLOW_CONN_QWENIMAGE_DEFAULT']))"
    line = f'{command}\nexec {shlex.quote(sys.executable)} -c "{show}"'
    return json.loads(subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("command", INSTALLS)
def test_an_install_command_names_this_package_and_its_extra(command: str):
    """The pages install what this is called, with an extra that it has."""
    name, extra = re.fullmatch(r"pip install '?([\w-]+)(?:\[(\w+)\])?'?", command).groups()
    found = metadata("airflow-provider-qwenimage")
    assert (name, found["Version"]) == (found["Name"], __version__)
    assert extra is None or extra in found.get_all("Provides-Extra")


@pytest.mark.parametrize("command", EMULATORS)
def test_an_emulator_command_starts_an_emulator(command: str):
    """The command of a page, on a free port, gets ready and ends when it is told to."""
    with emulator_of(command) as line:
        assert "ready at http://127.0.0.1:" in line


@contextmanager
def emulator_of(command: str) -> Iterator[str]:
    """Run an emulator's command on a free port; gives the line in which it says where it is."""
    words = [*shlex.split(re.sub(r"--port \d+", "", command))[1:], "--port", "0"]
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            yield process.stdout.readline()
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


@pytest.mark.parametrize("command", AIRFLOW)
def test_a_command_of_airflow_is_one(command: str):
    """Airflow's command line knows the command and its options."""
    from airflow.cli.cli_parser import get_parser

    get_parser().parse_args(shlex.split(command)[1:])


def test_the_commands_of_make_exist():
    """What the pages call are targets of the Makefile; what they do is tested by calling them."""
    found = {command.split()[1] for command in TARGETS}
    assert found <= set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_the_quick_start_leads_to_an_image(tmp_path: Path):
    """Followed step by step, by somebody without an Airflow home, it ends with a whole image and says where."""
    mine = [block for block in BLOCKS if block.page == "docs/quickstart.md"]
    commands = [line for block in mine if block.kind == "bash" for line in block.text.splitlines()]
    (dag,) = [block for block in mine if block in DAGS]
    (dags := tmp_path / "airflow/dags").mkdir(parents=True)
    images = tmp_path / "images"
    (dags / f"{dag_id_of(dag)}.py").write_text(dag.text.replace("/tmp/qwenimage", str(images)))
    (emulator,) = [line for line in commands if line in EMULATORS]
    (export,) = [line for line in commands if line in CONNECTIONS]
    home = {"AIRFLOW_HOME": str(dags.parent), "AIRFLOW__CORE__DAGS_FOLDER": str(dags), "COLUMNS": "300"}
    with emulator_of(f"{emulator} --image-size 96") as line:
        url = re.search(r"http://[\w.:]+", line).group()
        home["AIRFLOW_CONN_QWENIMAGE_DEFAULT"] = exported(export).replace("http://127.0.0.1:8089", url)
        said = [airflow_says(command, home) for command in commands if command.startswith("airflow ")]
    assert "airflow-provider-qwenimage" in said[0]
    (image,) = images.glob("*.jpeg")
    assert whole_image(image).size[0] == 96
    assert f"Saved file://{image}" in said[-1].replace("\n", "")


def airflow_says(command: str, environment: dict[str, str]) -> str:
    """Run a command of Airflow's; return all that it said."""
    words: list[Any] = [sys.executable, "-m", *shlex.split(command)]
    given = {**os.environ, **environment}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=given, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr
