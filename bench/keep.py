#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints what the other scripts read of the JSON of bnorm-bench, a row to a line, to be kept in bench/results/: keep.py FILE"""

import json
import sys

from report import MEASURED

KEPT = ("name", "real_time", "bytes_per_second", *MEASURED, "cold", "label", "error_occurred", "error_message")


def short(value):
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    context = {key: value for key, value in report["context"].items() if key not in ("host_name", "executable", "load_avg")}
    context["load_avg"] = []
    print('{"context":', json.dumps(context, indent=1) + ',\n"benchmarks": [')
    rows = [run for run in report["benchmarks"] if run.get("error_message") != "interrupted"]
    lines = (json.dumps({key: short(run[key]) for key in KEPT if key in run}) for run in rows)
    print(",\n".join(lines) + "\n]}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
