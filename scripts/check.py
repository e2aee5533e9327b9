"""`make check`: the quick part, for between two edits: lint, types and the tests that need no running Airflow."""

from __future__ import annotations

from envs import DEV, ROOT, install_dev, without_key
from lint import lint
from processes import run, script


def main(arguments: list[str]) -> int:
    install_dev()
    linted = lint()
    print("\ntests", flush=True)
    command = [DEV / "bin" / "python", "-m", "pytest", "-m", "not e2e", *arguments]
    code = run(command, cwd=ROOT, env=without_key())
    for name in (name for name, content in linted.items() if not content):
        print(f"{name}: FAILED, see above")
    return code or (0 if all(linted.values()) else 1)


if __name__ == "__main__":
    script(main)
