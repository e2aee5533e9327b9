"""`make demo`: one image, made by a DAG in a real Airflow, in plain words."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path

from airflow_log import in_plain_words, last_error
from envs import ROOT, install_dev
from local_airflow import AIRFLOW, alone, as_json, migrate, service, settings
from processes import Child, Failure, script, started

DAG = "qwenimage_text_to_image"
WORK = ROOT / "build" / "demo"
HOME = WORK / "airflow"
LOG = WORK / "airflow.log"
PATIENCE = 600
# First and last bytes of each kind of image.
IMAGES = {"PNG": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"), "JPEG": (b"\xff\xd8\xff", b"\xff\xd9")}


def follow(run: Child) -> None:
    """Tells what happens until the run has ended."""
    deadline = time.monotonic() + PATIENCE
    rest = ""
    with LOG.open(encoding="utf-8", errors="replace") as log:
        while True:
            ended = run.poll() is not None
            *lines, rest = (rest + log.read()).split("\n")
            for said in filter(None, map(in_plain_words, lines)):
                print(said, flush=True)
            if ended:
                return
            if time.monotonic() > deadline:
                raise failure(f"The DAG has not ended within {PATIENCE} seconds")
            time.sleep(0.2)


def failure(what: str) -> Failure:
    """What went wrong, in the words of the last error, and what to do."""
    error = last_error(LOG.read_text(encoding="utf-8", errors="replace"))
    return Failure(
        f"\n{what}. Airflow's last words on it:\n\n{error}\n\n"
        f"The whole log is {LOG}. If the message names nothing that you can mend, `make clean` and try again."
    )


def check(images: list[Path]) -> None:
    """Prints each image, and fails if one is none."""
    if not images:
        raise failure("The DAG has saved no image")
    print("\nSaved and checked:")
    for path in images:
        content = path.read_bytes()
        kind = next(
            (k for k, (first, end) in IMAGES.items() if content.startswith(first) and content.endswith(end)), ""
        )
        if not kind:
            raise failure(f"{path} is not a whole PNG or JPEG image")
        print(f"  {path}  ({kind}, {len(content) / 1000:.0f} kB)")


def make_images(output: Path) -> None:
    """Runs the DAG in an Airflow process of its own."""
    with service(WORK) as where:
        env = settings(HOME) | {"AIRFLOW_CONN_QWENIMAGE_DEFAULT": as_json(where)}
        migrate(HOME, env)
        print(f"Running the DAG {DAG} in example_dags/text_to_image.py (Airflow's own log: {LOG})", flush=True)
        conf = json.dumps({"output_path": f"file://{output}"})
        with started([AIRFLOW, "dags", "test", DAG, "--conf", conf], LOG, cwd=WORK, env=env) as run:
            follow(run)
            if run.returncode != 0:
                raise failure("The DAG has failed")


def main(arguments: list[str]) -> int:
    install_dev(tools=False)
    output = WORK / "images" / datetime.now(timezone.utc).strftime("%Y-%m-%d_%H-%M-%S")
    with alone(WORK):
        make_images(output)
        check(sorted(path for path in output.rglob("*") if path.is_file()))
    return 0


if __name__ == "__main__":
    script(main)
