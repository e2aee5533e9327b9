"""`make lint`, `make format`: ruff and mypy over everything, schemas over the files that only others run."""

from __future__ import annotations

from envs import DEV, ROOT, clean_environment, install_dev
from processes import run, script

SCHEMA = ["check-jsonschema", "--builtin-schema"]
COMMANDS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "workflow": [*SCHEMA, "vendor.github-workflows", ".github/workflows/ci.yml"],
    "compose file": [*SCHEMA, "vendor.compose-spec", "compose.yaml"],
}
FIXES = {"ruff check": ["ruff", "check", "--fix", "."], "ruff format": ["ruff", "format", "."]}


def lint(commands: dict[str, list[str]] = COMMANDS) -> dict[str, bool]:
    """Runs each command, goes on when one finds something, and tells which were content."""
    content = {}
    for name, (tool, *arguments) in commands.items():
        print(f"\n{name}", flush=True)
        code = run([DEV / "bin" / tool, *arguments], cwd=ROOT, env=clean_environment())
        content[name] = code == 0
    return content


def main(arguments: list[str]) -> int:
    install_dev()
    return 0 if all(lint(FIXES if "--fix" in arguments else COMMANDS).values()) else 1


if __name__ == "__main__":
    script(main)
