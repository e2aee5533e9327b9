"""`make docs`: the site, from README.md, docs/ and the docstrings; any warning of Sphinx is a failure."""

from __future__ import annotations

from envs import LOGS, NEWEST, ROOT, clean_environment, install, install_dev, make, python_of
from processes import Failure, run, script, tail

ENV = ROOT / "build" / "envs" / "docs"
SITE = ROOT / "build" / "docs"


def build_docs() -> bool:
    """Builds the site into build/docs; tells whether Sphinx was content. What it said is in build/logs/docs.log."""
    make(ENV, str(python_of(ROOT / ".venv")))
    install(ENV, NEWEST, ["-e", ".[emulator]", "--group", "docs"], compiled=False)
    # -E: a page that is gone, or a docstring that has changed, must not be served from what an earlier run has read.
    options = ["-b", "html", "-W", "--keep-going", "-q", "-E", "-c", ROOT / "docs", "-d", SITE.with_name("docs-cache")]
    command = [python_of(ENV), "-m", "sphinx", *options, ROOT, SITE]
    env = clean_environment() | {"AIRFLOW_HOME": str(SITE.with_name("docs-airflow"))}
    return run(command, LOGS / "docs.log", cwd=ROOT, env=env) == 0


def main(arguments: list[str]) -> int:
    install_dev(tools=False)
    if not build_docs():
        raise Failure(f"The pages have faults (all of them are in {LOGS / 'docs.log'}):\n{tail(LOGS / 'docs.log')}")
    print(f"The site is in {SITE}: open {SITE / 'index.html'}")
    return 0


if __name__ == "__main__":
    script(main)
