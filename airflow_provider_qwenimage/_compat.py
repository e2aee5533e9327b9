"""Where Airflow 2.11 to 3.3 keep the names that we use: the newest place first.

The only module that knows of Airflow's versions. What is slow to import is fetched by the functions at the end.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow import __version__ as airflow_version

__all__ = [
    "AIRFLOW_3",
    "HAS_IMAGES_PAGE",
    "SET_DURING_EXECUTION",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "DecoratedOperator",
    "PokeReturnValue",
    "TaskDecorator",
    "TaskDeferred",
    "XComArg",
    "asset_types",
    "conf",
    "context_merge",
    "determine_kwargs",
    "object_storage_path",
    "report_input",
    "report_output",
    "show_fields",
    "stats",
    "task_decorator_factory",
    "xcom_value",
]

AIRFLOW = tuple(int(part) for part in airflow_version.split(".")[:2])
AIRFLOW_3 = AIRFLOW >= (3,)
HAS_IMAGES_PAGE = AIRFLOW >= (3, 1)  # what the page is made of came with 3.1


def _first(name: str, *modules: str) -> Any:
    for module in modules:
        with suppress(ImportError, AttributeError):
            return getattr(import_module(module), name)
    raise ImportError(f"airflow-provider-qwenimage: {name} is in none of {modules} of Airflow {airflow_version}")


if TYPE_CHECKING:
    from airflow.sdk import (
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        PokeReturnValue,
        XComArg,
    )
    from airflow.sdk.bases.decorator import (
        DecoratedOperator,
        TaskDecorator,
        determine_kwargs,
        task_decorator_factory,
    )
    from airflow.sdk.configuration import conf
    from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
    from airflow.sdk.definitions.context import context_merge
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowSensorTimeout,
        AirflowSkipException,
        TaskDeferred,
    )
else:
    BaseHook = _first("BaseHook", "airflow.sdk", "airflow.hooks.base")
    BaseOperator = _first("BaseOperator", "airflow.sdk", "airflow.models.baseoperator")
    BaseOperatorLink = _first("BaseOperatorLink", "airflow.sdk", "airflow.models.baseoperatorlink")
    BaseSensorOperator = _first("BaseSensorOperator", "airflow.sdk", "airflow.sensors.base")
    PokeReturnValue = _first("PokeReturnValue", "airflow.sdk", "airflow.sensors.base")
    conf = _first("conf", "airflow.sdk.configuration", "airflow.configuration")
    _EXCEPTIONS = ("airflow.sdk.exceptions", "airflow.exceptions")
    AirflowException = _first("AirflowException", *_EXCEPTIONS)
    AirflowFailException = _first("AirflowFailException", *_EXCEPTIONS)
    AirflowNotFoundException = _first("AirflowNotFoundException", *_EXCEPTIONS)
    AirflowSensorTimeout = _first("AirflowSensorTimeout", *_EXCEPTIONS)
    AirflowSkipException = _first("AirflowSkipException", *_EXCEPTIONS)
    TaskDeferred = _first("TaskDeferred", *_EXCEPTIONS)
    Context = TaskDecorator = XComArg = Any
    _DECORATORS = ("airflow.sdk.bases.decorator", "airflow.decorators.base", "airflow.utils.operator_helpers")
    DecoratedOperator = _first("DecoratedOperator", *_DECORATORS)
    determine_kwargs = _first("determine_kwargs", *_DECORATORS)
    task_decorator_factory = _first("task_decorator_factory", *_DECORATORS)
    context_merge = _first("context_merge", "airflow.sdk.definitions.context", "airflow.utils.context")
    SET_DURING_EXECUTION = (
        _first("SET_DURING_EXECUTION", "airflow.sdk.definitions._internal.types")
        if AIRFLOW_3
        else _first("NOTSET", "airflow.utils.types")
    )


def object_storage_path(path: str) -> Any:
    """Return Airflow's ``ObjectStoragePath`` for ``path``."""
    return _first("ObjectStoragePath", "airflow.sdk", "airflow.io.path")(path)


def stats() -> Any:
    """Return Airflow's metrics."""
    return _first("Stats", "airflow.sdk.observability.stats", "airflow.stats")


def asset_types() -> tuple[type[Any], type[Any]]:
    """Return the classes of an asset and of an asset alias; datasets, on 2.11."""
    if AIRFLOW_3:
        return _first("Asset", "airflow.sdk"), _first("AssetAlias", "airflow.sdk")
    return _first("Dataset", "airflow.datasets"), _first("DatasetAlias", "airflow.datasets")


def _lineage() -> Any:
    return _first("get_hook_lineage_collector", "airflow.sdk.lineage", "airflow.lineage.hook")()


def report_input(path: Any, uri: str) -> None:
    """Tell Airflow's lineage that a file was read; ``ObjectStoragePath.open`` tells it a URI that it does not take."""
    collector = _lineage()
    (collector.add_input_asset if AIRFLOW_3 else collector.add_input_dataset)(context=path, uri=uri)


def report_output(path: Any, uri: str) -> None:
    """Tell Airflow's lineage that a file was written, as ``ObjectStoragePath.open`` would have told it."""
    collector = _lineage()
    (collector.add_output_asset if AIRFLOW_3 else collector.add_output_dataset)(context=path, uri=uri)


def show_fields(ti: Any) -> None:
    """Show a task's fields as they are now under "Rendered Templates"; Airflow 3 does so itself when a run ends."""
    if not AIRFLOW_3:
        fields = _first("RenderedTaskInstanceFields", "airflow.models.renderedtifields")
        fields.write(fields(ti, render_templates=False))


def xcom_value(key: str, ti_key: Any) -> Any:
    """Return an XCom of a task instance; None if there is none."""
    return _first("XCom", "airflow.sdk.execution_time.xcom", "airflow.models.xcom").get_value(key=key, ti_key=ti_key)
