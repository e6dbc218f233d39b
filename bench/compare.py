#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Lays results of bnorm-bench from several machines side by side, each machine with its best ISA: compare.py FILE..."""

import json
import sys

from report import geometric_mean, isas_of, number, read_rows, table


def read_machine(path):
    """What the JSON says of the machine, and its rows of the best ISA by (op, layout, dtype, threads), then by shape."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    groups = {}
    rows = {key: row for key, row in read_rows(report["benchmarks"]).items() if row}
    if not rows:
        sys.exit(f"{path}: no row has a result")
    best = isas_of(rows)[-1]
    for (op, layout, dtype, shape, isa, threads), row in rows.items():
        if isa == best:
            groups.setdefault((op, layout, dtype, threads), {})[shape] = row
    return report["context"], best, groups


def cells(rows):
    """Of one layer, or of means: GB/s and fraction of a copy of each machine, and the speeds over the first's."""
    columns = [number(row[key], digits) for row in rows for key, digits in (("speed", 1), ("copy", 2))]
    return columns + [number(row["speed"] / rows[0]["speed"], 2) for row in rows[1:]]


def main(paths):
    machines = [read_machine(path) for path in paths]
    names = [chr(ord("A") + i) for i in range(len(paths))]
    for name, path, (context, best, _) in zip(names, paths, machines):
        print(f"- {name}: {context['cpu']}, {context['num_cpus']} CPUs, {best}; bnorm {context['bnorm_version']}, commit "
              f"{context['bnorm_commit']}, {context['compiler']}, {context['date']}; {path}")
    print("\nGB/s, each tensor read or written once, of the best ISA. copy: as a fraction of that machine's best copy.\n")
    columns = [f"{name}{what}" for name in names for what in ("", " copy")] + [f"{name}/A" for name in names[1:]]
    means = []
    for group in sorted(set.intersection(*(set(groups) for *_, groups in machines))):
        shapes = [shape for shape in machines[0][2][group] if all(shape in groups[group] for *_, groups in machines)]
        if not shapes:
            continue
        print(f"## {' '.join(group)}\n")
        rows = {shape: [groups[group][shape] for *_, groups in machines] for shape in shapes}
        table(["layer", "batch x channels x points", *columns],
              [[shape, rows[shape][0]["dimensions"], *cells(rows[shape])] for shape in shapes], 2)
        mean = [{key: geometric_mean([rows[shape][i][key] for shape in shapes]) for key in ("speed", "copy")}
                for i in range(len(machines))]
        means.append([" ".join(group), str(len(shapes)), *cells(mean)])
    if not means:
        sys.exit("these files have no layer in common")
    print("## Geometric means\n")
    table(["", "layers", *columns], means, 1)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
