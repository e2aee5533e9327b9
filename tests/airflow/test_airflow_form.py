"""The connection form as users of each Airflow see it: rendered by the web server on 2, sent by the API server on 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_qwenimage._compat import AIRFLOW, AIRFLOW_3

LABELS = {"connect_timeout": "Connect time-out (s)", "read_timeout": "Read time-out (s)"}
DEFAULTS = {"connect_timeout": 10, "read_timeout": 30}

# In a process of its own: the web server of Airflow 2 is not meant to be made inside of something else.
RENDER = """
import json
from airflow.www.app import create_app

app = create_app(testing=True)
with app.test_request_context("/connection/add"):
    from airflow.providers_manager import ProvidersManager
    from airflow.www.forms import create_connection_form_class

    form = create_connection_form_class()()
    ours = {field.name.rpartition("__")[2]: field for field in form if field.name.startswith("extra__qwenimage__")}
    print("FORM " + json.dumps({
        "types": [list(choice) for choice in form.conn_type.choices if choice[0] == "qwenimage"],
        "labels": {name: field.label.text for name, field in ours.items()},
        "html": {name: field() for name, field in ours.items()},
        "behaviour": ProvidersManager().field_behaviours["qwenimage"],
    }, default=str))
"""


@pytest.fixture(scope="module")
def sent() -> Any:
    """What the API server tells the form of Airflow 3 about our type."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (ours,) = [each for each in HookMetaService.hook_meta_data() if each.connection_type == "qwenimage"]
    return json.loads(ours.model_dump_json())


@pytest.mark.skipif(AIRFLOW_3, reason="the form of Airflow 2")
def test_rendered_form(airflow_db: Path) -> None:
    """Airflow 2.11: the type by its name, the two time-outs as fields, the service's words for key and address."""
    done = subprocess.run(
        [sys.executable, "-c", RENDER], env=os.environ, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    form = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FORM "))[5:])
    assert form["types"] == [["qwenimage", "Qwen Image (Pixwith)"]]
    assert form["labels"] == LABELS
    assert {name: f'value="{value}"' in form["html"][name] for name, value in DEFAULTS.items()} == dict.fromkeys(
        DEFAULTS, True
    )
    assert form["behaviour"]["hidden_fields"] == ["login", "schema", "port"]
    assert form["behaviour"]["relabeling"] == {"password": "API key", "host": "Base URL"}


@pytest.mark.skipif(not AIRFLOW_3, reason="the form of Airflow 3")
def test_type_is_offered_by_name(sent: Any) -> None:
    """Every Airflow 3 offers the type under its name."""
    assert (sent["hook_name"], sent["hook_class_name"]) == (
        "Qwen Image (Pixwith)",
        "airflow_provider_qwenimage.hooks.QwenImageHook",
    )


@pytest.mark.skipif(AIRFLOW != (3, 0), reason="only Airflow 3.0 needs the FAB provider for it")
def test_form_of_3_0_is_bare(sent: Any) -> None:
    """Airflow 3.0 without the FAB provider shows its own fields for every type: host and password are what counts."""
    assert (sent["standard_fields"], sent["extra_fields"]) == (None, None)


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="since Airflow 3.1")
def test_fields_of_the_form(sent: Any) -> None:
    """Key and address have the service's words, what we don't read is hidden, the time-outs have their defaults."""
    standard = sent["standard_fields"]
    assert [name for name in ("login", "port", "url_schema", "host", "password") if standard[name]["hidden"]] == [
        "login",
        "port",
        "url_schema",
    ]
    assert (standard["password"]["title"], standard["host"]["title"]) == ("API key", "Base URL")
    assert standard["host"]["placeholder"] == "https://api.pixwith.ai"
    extra = sent["extra_fields"]
    assert {name: field["schema"]["title"] for name, field in extra.items()} == LABELS
    assert {name: field["value"] for name, field in extra.items()} == DEFAULTS
    assert all(field["schema"]["type"] == ["integer", "null"] for field in extra.values())
