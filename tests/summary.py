#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the TAP points of the last `meson test` in a build directory, and tells what failed.

usage: summary.py BUILD_DIR

Of Meson's two logs, testlog.junit.xml has a testcase for each point, and testlog.json what became of each program. One
that has no points counts as one; one that failed without a failed point counts as a failure, as does a run of none.
"""
import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def result_of(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def points_of(logs):
    """The results of each program's points."""
    points = {}
    for suite in ElementTree.parse(logs / "testlog.junit.xml").getroot():
        points[suite.get("name")] = [result_of(case) for case in suite.findall("testcase")]
    return points


def results_of(program, points):
    """One program's: Meson calls its suite of points "project.program", and has none where there are no points."""
    named = [results for suite, results in points.items() if suite.endswith(f".{program['name']}")]
    if program["result"] == "OK":
        result = "passed"
    else:  # Meson takes one that says nothing at all for skipped
        result = "skipped" if program["result"] == "SKIP" and "# SKIP" in program["stdout"] else "failed"
    if not named:
        return [result]
    return named[0] if result != "failed" or "failed" in named[0] else [*named[0], "failed"]


def print_failures(program):
    """Failed points, each with the diagnostics before it; and all that is said behind the last point."""
    print(f"{program['name']}: {program['result']}")
    said = []
    for line in program["stdout"].splitlines():
        if line.startswith("not ok"):
            print(*said, line, sep="\n")
        said = [] if line.startswith(("ok", "not ok")) else [*said, line]
    print(*said, program.get("stderr", ""), sep="\n")


def main(build):
    logs = pathlib.Path(build, "meson-logs")
    programs = []
    if (logs / "testlog.json").exists():
        programs = [json.loads(line) for line in (logs / "testlog.json").read_text(encoding="utf-8").splitlines()]
    points = points_of(logs) if programs else {}
    counts = {"passed": 0, "failed": 0 if programs else 1, "skipped": 0}
    for program in programs:
        results = results_of(program, points)
        for result in results:
            counts[result] += 1
        if "failed" in results:
            print_failures(program)
    print(f"{build}: " + ", ".join(f"{count} {result}" for result, count in counts.items()))
    return counts["failed"] > 0 or counts["passed"] + counts["skipped"] == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
