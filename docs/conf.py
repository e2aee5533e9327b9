"""Builds README and the pages of this folder into a site: ``make docs``. On any Git host they are plain Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from airflow_provider_qwenimage import __version__

project = "airflow-provider-qwenimage"
author = "The airflow-provider-qwenimage authors"
copyright = f"2026, {author}"
release = version = __version__

# The source folder is the repository, so that links lead from page to page here as they do there.
root_doc = "docs/index"
include_patterns = ["docs/**", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"{project} {release}"
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say what is expected, in words and with units

LINK = re.compile(r"^- \[[^\]]+\]\(([\w./-]+)\.md\)", re.MULTILINE)


def contents_from_links(app: Any, page: str, source: list[str]) -> None:
    """Make Sphinx's table of contents from the lists of links that a reader of the plain Markdown sees."""
    if page != app.config.root_doc:
        return
    for section in re.split(r"^(?=## )", source[0], flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0].removeprefix("## ")
        pages = LINK.findall(section)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(pages) + "\n```\n"


def front_door(app: Any, error: Exception | None) -> None:
    """Lead from the site's root to its first page."""
    if not error and app.builder.format == "html":
        to = f'<meta http-equiv="refresh" content="0; url={app.config.root_doc}.html">'
        Path(app.outdir, "index.html").write_text(f"<!doctype html>{to}<title>{project}</title>\n", encoding="utf-8")


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", contents_from_links)
    app.connect("build-finished", front_door)
