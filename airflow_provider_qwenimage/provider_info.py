"""Tells Airflow what is here. Imports nothing of weight: Airflow calls this in every one of its processes."""

from __future__ import annotations

from typing import Any

from airflow_provider_qwenimage import __version__

PACKAGE = "airflow-provider-qwenimage"
MODULE = "airflow_provider_qwenimage"

CONN_TYPE = "qwenimage"
DEFAULT_CONN_ID = "qwenimage_default"
HOOK_NAME = "Qwen Image (Pixwith)"
DEFAULT_BASE_URL = "https://api.pixwith.ai"

# The connection form, once. Airflow 3.2+ reads it through provider info, 2.11-3.1 through the hook's two methods.
# Extra fields: name -> (label, default in seconds, description).
EXTRA_FIELDS: dict[str, tuple[str, int, str]] = {
    "connect_timeout": ("Connect time-out (s)", 10, "Seconds until a connection to the service must stand"),
    "read_timeout": ("Read time-out (s)", 30, "Seconds until an answer of the service must be complete"),
}
HIDDEN_FIELDS = ["login", "schema", "port"]
RELABELING = {"password": "API key", "host": "Base URL"}
PLACEHOLDERS = {"password": "key_…", "host": DEFAULT_BASE_URL}


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, valid against ``provider_info.schema.json`` of Airflow 2.11 and later."""
    return {
        "package-name": PACKAGE,
        "name": "Qwen Image",
        "description": "Image generation with Qwen Image, served by `Pixwith <https://pixwith.ai/>`__.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": "Qwen Image", "external-doc-url": "https://pixwith.ai/api", "tags": ["service"]}
        ],
        "connection-types": [_connection_type()],
        "hooks": [_modules("hooks")],
        "operators": [_modules("operators")],
        "sensors": [_modules("sensors")],
        "triggers": [_modules("triggers", "batch.trigger")],
        "transfers": [
            {
                "source-integration-name": "Qwen Image",
                "target-integration-name": "Object Storage",
                "python-module": f"{MODULE}.transfers",
            },
            {
                "source-integration-name": "Object Storage",
                "target-integration-name": "Qwen Image",
                "python-module": f"{MODULE}.transfers",
            },
        ],
        "task-decorators": [{"name": "qwenimage", "class-name": f"{MODULE}.decorators.qwenimage_task"}],
        "extra-links": [f"{MODULE}.links.QwenImageResultLink", f"{MODULE}.links.QwenImageImagesLink"],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": "Qwen Image", "python-modules": [f"{MODULE}.{name}" for name in names]}


def _connection_type() -> dict[str, Any]:
    return {
        "connection-type": CONN_TYPE,
        "hook-class-name": f"{MODULE}.hooks.QwenImageHook",
        "hook-name": HOOK_NAME,
        "ui-field-behaviour": {
            "hidden-fields": HIDDEN_FIELDS,
            "relabeling": RELABELING,
            "placeholders": PLACEHOLDERS,
        },
        "conn-fields": {
            name: {
                "label": label,
                "description": description,
                "schema": {"type": ["integer", "null"], "default": default, "minimum": 1},
            }
            for name, (label, default, description) in EXTRA_FIELDS.items()
        },
    }
