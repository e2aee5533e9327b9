"""What an import adds to a DAG file that imports Airflow already: ``python -m benchmarks.imports``.

Our operators against those of other providers, each in fresh processes, in turn; medians.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from importlib import import_module
from statistics import median

from benchmarks.common import contend, table

OURS = "airflow_provider_qwenimage.operators"
MODULES = (
    OURS,
    "airflow.providers.http.operators.http",
    "airflow.providers.openai.operators.openai",
    "airflow.providers.anthropic.operators.batch",
)


def measure_here(module: str) -> None:
    import airflow.sdk

    _ = airflow.sdk.DAG, airflow.sdk.BaseOperator, airflow.sdk.BaseHook  # they are loaded when they are asked for
    before, start = set(sys.modules), time.perf_counter()
    import_module(module)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "modules": len(set(sys.modules) - before)}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=9)
    parser.add_argument("--here", metavar="MODULE", help="import it in this process")
    given = parser.parse_args()
    if given.here:
        measure_here(given.here)
        return
    times = given.times
    found: dict[str, list[dict[str, float]]] = {module: [] for module in MODULES}
    for _ in range(times + 1):  # the first round fills the page cache, and is left out
        for module in MODULES:
            found[module].append(contend("benchmarks.imports", "--here", module))
    seconds = {module: median(one["seconds"] for one in runs[1:]) for module, runs in found.items()}
    rows = [
        [
            f"`{module}`",
            f"{seconds[module] * 1000:.0f}",
            f"{seconds[module] / seconds[OURS]:.1f}",
            found[module][-1]["modules"],
        ]
        for module in MODULES
    ]
    table(
        f"Import after `airflow.sdk`, median of {times} processes",
        ["", "ms", "/ ours", "modules loaded"],
        rows,
        "Aim: ≤ 50 ms, and below every peer.",
    )


if __name__ == "__main__":
    main()
