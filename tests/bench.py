#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The benchmark, interrupted, and what its scripts make of the results: bench.py BNORM-BENCH SOURCE_ROOT"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

from tap import check, finish

program, root = sys.argv[1], pathlib.Path(sys.argv[2])


def script(name, *files):
    return subprocess.run([sys.executable, root / f"bench/{name}.py", *files], check=False, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT)


with tempfile.TemporaryDirectory() as directory:
    results = pathlib.Path(directory) / "results.json"
    running = subprocess.Popen([program, "--benchmark_filter=^(infer|train)/n(chw|hwc)/f32/tiny", f"--benchmark_out={results}",
                                "--benchmark_out_format=json"], stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "BNORM_BENCH_ROUNDS": "21"})
    first = running.stdout.readline()
    running.send_signal(signal.SIGINT)
    rest = running.communicate()[0]
    check(running.returncode == 130, "an interrupted run says so", f"it ended with {running.returncode}")
    check(" min left]" in first, "a line tells the time left", first)
    report = json.loads(results.read_text(encoding="utf-8"))
    lost = sum(run.get("error_message") == "interrupted" for run in report["benchmarks"])
    done = len(report["benchmarks"]) - lost
    check(done == 1 + rest.count(" min left]"), "all that was measured is in the file", f"{done} rows of {1 + rest.count('left]')}")
    check(lost > 0, "the others are there as interrupted")
    table = script("report", results)
    check(table.returncode == 0 and "FAILED" not in table.stdout, "the table has what is there", table.stdout[-300:])
    kept = pathlib.Path(directory) / "kept.json"
    kept.write_text(script("keep", results).stdout, encoding="utf-8")
    check(script("report", kept).stdout.split("## ")[1:] == table.stdout.split("## ")[1:], "results that are kept give the same table")
    check(len(json.loads(kept.read_text(encoding="utf-8"))["benchmarks"]) == done, "only rows with results are kept")

    same = script("compare", kept, kept).stdout
    check(f"None of {done} rows changed" in same, "nothing changed from a file to itself", same[-300:])
    for times, name in ((3, "faster"), (1 / 3, "slower")):
        changed = json.loads(kept.read_text(encoding="utf-8"))
        for run in changed["benchmarks"]:
            run["spread"] = 0.1
        kept.write_text(json.dumps(changed), encoding="utf-8")
        run = next(run for run in changed["benchmarks"] if "/scalar/" in run["name"])
        run["copy"] *= times
        run["bytes_per_second"] *= times
        after = pathlib.Path(directory) / "after.json"
        after.write_text(json.dumps(changed), encoding="utf-8")
        found = script("compare", kept, after).stdout
        check(f"1 of {done} rows changed" in found and f"{times:.2f}" in found, f"a row that became {name} is named", found[-300:])
    changed["context"]["cpu"] = "another"
    after.write_text(json.dumps(changed), encoding="utf-8")
    check("B/A" in script("compare", kept, after).stdout, "other machines are laid side by side")
finish()
