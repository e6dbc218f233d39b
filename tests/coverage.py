#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The lines of dispatch/ and kernels/ that tests ran: coverage.py FAILED BUILD_DIR=GCOV...

FAILED is how many runs of tests failed; each build has the gcov of its compiler. A line is covered if it ran in any build.
As most of kernels/ are templates, of which each ISA has dozens of instances, the lines of each instance are counted, too:
gcov tells them apart. A file passes if it has no uncovered line but those of UNREACHABLE, and all lines together must reach
BOUND.
"""
import collections
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BOUND = 98  # % of all lines, those of UNREACHABLE among them
# What no test can run: file, line as it is written, why.
UNREACHABLE = {
    ("kernels/body/pair.h", "const char *p = bnorm_elements(tensor, type, i);"):
        "gcc counts it in bnorm_elements, but for an instance for SVE that never prefetches",
}
# What is of some ISAs alone, by file and function.
NOT_ON_EACH = {
    ("kernels/body/entries.h", "map_large_units"): "all widths of planes divide a pair of 32 lanes",
    ("kernels/body/entries.h", "map_rows"): "vectors of fewer than 16 lanes do not share coefficients",
    ("kernels/body/fusion.h", "store_bits_unaligned"): "of a pair of 8 lanes, a full byte goes another way",
}


def reports(build, gcov):
    """What gcov says of each object of the library: the ISA, or "dispatch", and its files."""
    for notes in sorted(pathlib.Path(build).glob("[dk]*/libbnorm-*.a.p/*.gcno")):  # of dispatch/ and kernels/
        part = re.search(r"libbnorm-(\w+)\.a\.p", str(notes))[1].replace("core", "dispatch")
        counts = notes.with_suffix(".gcda")
        command = [gcov, "--json-format", "--branch-probabilities", "--stdout", counts if counts.exists() else notes]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for file in report["files"]:
            path = os.path.normpath(os.path.join(report["current_working_directory"], file["file"]))
            file["file"] = os.path.relpath(path, ROOT)
        yield part, [f for f in report["files"] if f["file"].startswith(("dispatch/", "kernels/"))]


class Counts:
    """How often what ran: {file: {line: times}}, and {part: {(file, line, function): times}}, and so on."""

    def __init__(self):
        self.lines, self.instances, self.branches, self.functions = (
            collections.defaultdict(collections.Counter) for _ in range(4))

    def add(self, part, file):
        name = file["file"]
        for function in file["functions"]:
            self.functions[part][function["name"]] += function["execution_count"]
        for line in file["lines"]:
            number = line["line_number"]
            self.lines[name][number] += line["count"]
            self.instances[part][name, number, line.get("function_name", "")] += line["count"]
            for i, branch in enumerate(line["branches"]):
                self.branches[name][part, number, line.get("function_name"), i] += branch["count"]


def ran(counts):
    return f"{sum(times > 0 for times in counts.values())}/{len(counts)}"


def percent(counts):
    """Rounded down."""
    return f"{sum(times > 0 for times in counts.values()) * 1000 // len(counts) / 10:g}" if counts else ""


def all_of(files):
    return {(name, key): times for name, counts in files.items() for key, times in counts.items()}


def print_table(counts, isas):
    print(f"| file | lines | % | branches, % | {' | '.join(isas)} |")
    print("|---" * (4 + len(isas)) + "|")
    for name in sorted(counts.lines):
        of_isas = [{key: times for key, times in counts.instances[isa].items() if key[0] == name} for isa in isas]
        print(f"| {name} | {ran(counts.lines[name])} | {percent(counts.lines[name])} | {percent(counts.branches[name])} |",
              " | ".join(map(percent, of_isas)), "|")
    lines, branches = all_of(counts.lines), all_of(counts.branches)
    print(f"| all | {ran(lines)} | {percent(lines)} | {percent(branches)} |",
          " | ".join(percent(counts.instances[isa]) for isa in isas), "|")


def print_uncovered(counts):
    """Each line that did not run at all; returns the files where no reason is known."""
    unnamed = set()
    for name in sorted(counts.lines):
        source = (ROOT / name).read_text(encoding="utf-8").splitlines()
        for number in sorted(number for number, times in counts.lines[name].items() if not times):
            line = source[number - 1].strip()
            reason = UNREACHABLE.get((name, line), "")
            print(f"{name}:{number}: {line}{reason and f'  # {reason}'}")
            if not reason:
                unnamed.add(name)
    return unnamed


def print_part(counts, part):
    """What ran elsewhere, but not in this part: functions as a whole, and lines of others."""
    functions = counts.functions[part]
    print(f"{part}: {ran(functions)} functions, {ran(counts.instances[part])} of their lines")
    for function in sorted(name for name, times in functions.items() if not times):
        print(f"    {function}: none")
    missed = collections.defaultdict(list)
    for (name, number, function), times in counts.instances[part].items():
        if not times and functions.get(function) != 0:
            missed[name, function].append(number)
    for (name, function), numbers in sorted(missed.items()):
        reason = NOT_ON_EACH.get((name, function), "")
        print(f"    {name}: {function or 'inlined'}: {', '.join(map(str, sorted(numbers)))}{reason and f'  # {reason}'}")


def main(failed, *builds):
    counts = Counts()
    for build in builds:
        for part, files in reports(*build.split("=")):
            for file in files:
                counts.add(part, file)
    isas = [part for part in counts.instances if part != "dispatch"]
    print_table(counts, isas)
    print("\nLines that did not run:")
    unnamed = print_uncovered(counts)
    print("\nInstances:")
    for part in [*isas, "dispatch"]:
        print_part(counts, part)
    lines = all_of(counts.lines)
    covered = sum(times > 0 for times in lines.values())
    branches = all_of(counts.branches)
    print(f"\nlines: {ran(lines)}, {percent(lines)} % (bound: {BOUND} %); branches of all instances: {ran(branches)}")
    failed = int(failed) + len(unnamed) + (covered * 100 < BOUND * len(lines))
    print(f"coverage: {len(counts.lines) - len(unnamed)} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
