"""README and docs agree with the code: parameters, defaults, errors, metrics, names, files, links."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from docs_pages import DOCS, PAGES, ROOT, name_of, prose_of, tables, text_of

from airflow_provider_qwenimage import operators, sensors, transfers
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.batch.report import BatchError
from airflow_provider_qwenimage.exceptions import FINAL

README = text_of(ROOT / "README.md")
PACKAGE = Path(import_module("airflow_provider_qwenimage").__file__).parent
OPERATORS = {
    "batch": operators.QwenImageBatchGenerateOperator,
    "create": operators.QwenImageCreateTaskOperator,
    "generate": operators.QwenImageGenerateOperator,
    "save": transfers.QwenImageToObjectStorageOperator,
    "upload": transfers.ObjectStorageToQwenImageOperator,
    "task-sensor": sensors.QwenImageTaskSensor,
    "credits-sensor": sensors.QwenImageCreditsSensor,
}
ERRORS = {**vars(errors), "BatchError": BatchError}
WITHOUT_A_CLASS = {"decorator", "hook"}
FROM_CONFIGURATION = "[operators] default_deferrable"


def page_of(name: str) -> str:
    return text_of(DOCS / "operators" / f"{name}.md")


def section(name: str, title: str) -> str:
    return page_of(name).partition(f"## {title}\n")[2].partition("\n## ")[0]


def parameters_of(kind: type) -> dict[str, Any]:
    """The parameters of our own, with their defaults."""
    found = inspect.signature(kind.__init__).parameters.values()
    return {each.name: each.default for each in found if each.name not in ("self", "kwargs")}


def test_every_operator_has_a_page():
    """No operator or sensor without a page, no page without one."""
    ours = {name for module in (operators, sensors, transfers) for name in module.__all__}
    assert {kind.__name__ for kind in OPERATORS.values()} == ours
    assert {page.stem for page in (DOCS / "operators").glob("*.md")} == {*OPERATORS, *WITHOUT_A_CLASS}


@pytest.mark.parametrize("name", OPERATORS)
def test_parameters_and_defaults_are_those_of_the_code(name: str):
    """The page lists all parameters, with the defaults that they have."""
    told = {row[0].strip("`"): row[2].strip("`") for row in tables(section(name, "Parameters"))[0]}
    actual = parameters_of(OPERATORS[name])
    assert list(told) == list(actual)
    for parameter, default in actual.items():
        if default is inspect.Parameter.empty:
            assert told[parameter] == "required"
        elif told[parameter] != FROM_CONFIGURATION:
            assert ast.literal_eval(told[parameter]) == default, parameter
    assert {parameter for parameter in told if told[parameter] == FROM_CONFIGURATION} <= {"deferrable"}


@pytest.mark.parametrize("name", OPERATORS)
def test_what_is_templated_is_what_the_page_says(name: str):
    """The page names the templated parameters, or those that are not."""
    kind, text = OPERATORS[name], " ".join(section(name, "Parameters").split())
    if listed := re.search(r"Templated: (.*?)\. ", f"{text} "):
        told = set(re.findall(r"`(\w+)`", listed[1]))
    else:
        excepted = re.search(r"(?:all|both) templated(?:, except ([`\w, ]+))?", text)
        told = set(parameters_of(kind)) - set(re.findall(r"`(\w+)`", excepted[1] or ""))
    assert told == set(kind.template_fields)


@pytest.mark.parametrize("name", OPERATORS)
def test_errors_are_retried_as_the_page_says(name: str):
    """A final error is not retried, another one is; a sensor's are never."""
    for row in tables(section(name, "Errors"))[0]:
        for error in re.findall(r"`(\w+Error)`", row[0]):
            kind = ERRORS[error]
            final = issubclass(kind, FINAL) or "sensor" in name
            assert row[2].split()[0].strip(",:") == ("no" if final else "yes"), error


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_error_that_is_named_exists(page: Path):
    """Classes of errors are spelt as in the code."""
    named = set(re.findall(r"`(\w+Error)`", text_of(page)))
    assert not [name for name in named if name not in ERRORS]


def test_metrics_are_those_that_are_sent():
    """The page lists each metric, and none that is not sent."""
    code = "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    sent = set(re.findall(r'metrics\.(?:count|timing)\("(\w+)"', code))
    assert set(re.findall(r"`qwenimage\.(\w+)`", text_of(DOCS / "watching.md"))) == sent


def test_the_readme_names_what_there_is():
    """Every name in the table of public names can be imported, every file in the map exists."""
    names = re.findall(r"^\| `(\w+)\.(\w+)`", README, re.MULTILINE)
    assert len(names) > 8
    for module, name in names:
        if module != "retry_policies" or _has_retry_policies():
            assert hasattr(import_module(f"airflow_provider_qwenimage.{module}"), name), name
    where = text_of(DOCS / "internals.md").partition("\n## Where is")[2]
    files = re.findall(r"`([\w/]+\.py)`", where)
    assert len(files) > 10
    assert not [file for file in files if not (PACKAGE / file).exists() and not (PACKAGE / "emulator" / file).exists()]


def _has_retry_policies() -> bool:
    try:
        from airflow.sdk import RetryPolicy  # noqa: F401
    except ImportError:
        return False
    return True


def test_every_page_is_found_from_the_first():
    """The list of contents leads to every page."""
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([\w./-]+\.md)\)", text_of(DOCS / "index.md"))}
    assert {page for page in PAGES if page != DOCS / "index.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path):
    """A link within the repository leads to a file, and to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists() or not _is_shipped(found), target
        if anchor and found.exists():
            assert anchor in slugs(found), target


def _is_shipped(path: Path) -> bool:
    """Whether the tests find a file beside them: run beside a wheel, they have no CHANGELOG, LICENSE and scripts."""
    return (ROOT / "CHANGELOG.md").exists() or path.relative_to(ROOT).parts[0] in ("docs", "example_dags", "README.md")


def slugs(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
