"""`make matrix`: the built wheel on every Airflow and every Python, with nox. Hours; `make test` is what CI runs."""

from __future__ import annotations

from cells import CELLS, find_python, pyenv_versions
from envs import DEV, ROOT, install_dev, without_key
from processes import run, script
from wheel import build


def main(arguments: list[str]) -> int:
    install_dev()
    build()
    missing = sorted({cell.airflow for cell in CELLS if not find_python(cell.airflow)})
    if missing:
        print(f"No Python here fits Airflow {', '.join(missing)}: nox skips it", flush=True)
    # The tests take the key away by themselves; nox has no business with it either.
    path = {"PATH": f"{DEV / 'bin'}:{without_key()['PATH']}"}
    command = [DEV / "bin" / "nox", "--noxfile", ROOT / "noxfile.py", *arguments]
    return run(command, cwd=ROOT, env=without_key() | pyenv_versions() | path)


if __name__ == "__main__":
    script(main)
