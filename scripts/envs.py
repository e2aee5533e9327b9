"""The environments: `.venv` for development and one per Airflow version in `build/envs` for the tests."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from processes import Failure, run, script, tail

ROOT = Path(__file__).resolve().parent.parent
NEWEST = "3.3.2"
DEV = ROOT / ".venv"
STAMP = ".installed"
LOGS = ROOT / "build" / "logs"


def clean_environment() -> dict[str, str]:
    """What every child process gets: the caller's environment without settings that change Airflow or Python."""
    # Without byte code every Airflow process takes twice as long to start.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW") and k != "PYTHONDONTWRITEBYTECODE"}
    # The emulator and Airflow talk on this machine, whatever proxy the rest goes through.
    direct = ",".join(filter(None, [kept.get("NO_PROXY") or kept.get("no_proxy"), "127.0.0.1", "localhost"]))
    ours = {"PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "UV_PYTHON_DOWNLOADS": "never"}
    return kept | ours | {"NO_PROXY": direct, "no_proxy": direct}


def without_key() -> dict[str, str]:
    """`clean_environment` for what must not spend somebody's credits, or gets its key by an Airflow connection."""
    return {k: v for k, v in clean_environment().items() if not k.startswith("PIXWITH")}


def constraints(airflow: str) -> Path:
    return ROOT / "constraints" / f"airflow-{airflow}.txt"


def python_of(env: Path) -> Path:
    return env / "bin" / "python"


def install_dev(*, tools: bool = True) -> None:
    """Brings `.venv` up to date: the newest Airflow, this repository (editable) and, if wanted, tests' and linters'."""
    runs = ["-e", ".[emulator]", "apache-airflow-providers-sqlite"]  # two of the examples keep their table there
    everything = [*runs, "--group", "test", "--group", "lint", "--group", "build"]
    if tools or not is_installed(DEV, NEWEST, everything):
        install(DEV, NEWEST, everything if tools else runs)


def is_installed(env: Path, airflow: str, specs: list[str]) -> bool:
    stamp = env / STAMP
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _fingerprint(env, airflow, specs)


def pinned(airflow: str, specs: list[str]) -> list[str]:
    """The arguments of `uv pip install` for `specs` beside that Airflow, from the pinned versions."""
    pins = ["--constraints", str(constraints(airflow)), "--build-constraints", str(constraints(NEWEST))]
    return [*pins, f"apache-airflow=={airflow}", *specs]


def install(env: Path, airflow: str, specs: list[str], *, compiled: bool = True) -> None:
    """Installs `specs` beside that Airflow into `env`. Does nothing if nothing changed.

    `compiled`: at once; for one process alone it is quicker to leave that to its imports.
    """
    if is_installed(env, airflow, specs):
        return
    (env / STAMP).unlink(missing_ok=True)
    print(f"Installing Airflow {airflow} and what this project needs into {env.relative_to(ROOT)}", flush=True)
    command = [DEV / "bin" / "uv", "pip", "install", "--python", python_of(env), *pinned(airflow, specs)]
    log = LOGS / f"install-{airflow}.log"
    if run(command, log, cwd=ROOT, env=clean_environment()) != 0:
        raise Failure(
            f"The installation failed. uv's last words (all of them are in {log}):\n\n{tail(log, 6)}\n\n"
            "If it did not reach a package index, try again when there is a network (behind a mirror: set "
            "UV_DEFAULT_INDEX). If it found no solution, pyproject.toml and constraints/ disagree: make lock."
        )
    if compiled:
        compile_packages(env)
    (env / STAMP).write_text(_fingerprint(env, airflow, specs), encoding="utf-8")


def compile_packages(env: Path) -> None:
    """Compiles what isn't yet: uv's own option leaves most of an environment that it adds to uncompiled."""
    # A package may ship files that are not valid for this Python, so the exit code says nothing.
    command = [python_of(env), "-m", "compileall", "-q", "-j2", env / "lib"]
    run(command, LOGS / "compile.log", cwd=ROOT, env=clean_environment())


def make(env: Path, python: str) -> None:
    """Makes an empty environment unless there is one whose Python runs."""
    if python_of(env).exists() and subprocess.run([python_of(env), "-c", ""], check=False).returncode == 0:
        return
    log = LOGS / f"make-{env.name}.log"
    command = [DEV / "bin" / "uv", "venv", "--clear", "--python", python, env]
    if run(command, log, cwd=ROOT, env=clean_environment()) != 0:
        raise Failure(f"uv could not make an environment with {python}; it said why in {log}.")


def _fingerprint(env: Path, airflow: str, specs: list[str]) -> str:
    parts = [constraints(airflow).read_bytes(), (ROOT / "pyproject.toml").read_bytes(), " ".join(specs).encode()]
    # The path is part of it: a moved repository leaves an editable install that points nowhere.
    parts.append(f"{env} {os.path.realpath(python_of(env))}".encode())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def main(arguments: list[str]) -> int:
    install_dev()
    return 0


if __name__ == "__main__":
    script(main)
