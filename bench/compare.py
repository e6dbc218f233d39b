#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the JSON of bnorm-bench: compare.py FILE...

Two files of one CPU are before and after: what changed beyond noise. Others are laid side by side, each with its best ISA.
"""

import json
import sys

from report import geometric_mean, isas_of, number, read_rows, table


def read_machine(path):
    """What the JSON says of the machine, and its rows."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    rows = {key: row for key, row in read_rows(report["benchmarks"]).items() if row}
    if not rows:
        sys.exit(f"{path}: no row has a result")
    return report["context"], rows


def print_machine(name, path, context):
    print(f"- {name}: {context['cpu']}, {context['num_cpus']} CPUs; bnorm {context['bnorm_version']}, commit "
          f"{context['bnorm_commit']}, {context['compiler']}, {context['date']}; {path}")


# ---- Before and after ----

def change(before, after):
    """How many times as fast, each beside the copy of its own run, so that what else the machine did counts less."""
    return after["copy"] / before["copy"]


def is_noise(before, after):
    """A change is one that is larger than what the rounds of both runs differed by, together."""
    noise = (1 + before["spread"]) * (1 + after["spread"])
    return 1 / noise <= change(before, after) <= noise


def print_changes(before, after):
    """By (op, layout, dtype, threads) the means, then the rows that changed."""
    common = [key for key in before if key in after]
    if not common:
        sys.exit("these files have no row in common")
    groups, changed = {}, []
    for key in common:
        op, layout, dtype, shape, isa, threads = key
        pair = before[key], after[key]
        groups.setdefault((op, layout, dtype, isa, threads), []).append(pair)
        if not is_noise(*pair):
            changed.append((change(*pair), key, pair))
    drift = geometric_mean([change(*pair)**-1 * pair[1]["speed"] / pair[0]["speed"] for pairs in groups.values() for pair in pairs])
    print(f"\nSpeeds are taken beside the copy of the same run. Copies were {drift:.2f} times as fast afterwards.\n")
    table(["", "rows", "after / before", "faster", "slower"],
          [[" ".join(group), str(len(pairs)), number(geometric_mean([change(*pair) for pair in pairs]), 3),
            str(sum(change(*pair) > 1 and not is_noise(*pair) for pair in pairs)),
            str(sum(change(*pair) < 1 and not is_noise(*pair) for pair in pairs))] for group, pairs in groups.items()], 1)
    if not changed:
        print(f"None of {len(common)} rows changed beyond noise.")
        return
    print(f"{len(changed)} of {len(common)} rows changed beyond noise:\n")
    table(["row", "before, GB/s", "after", "after / before", "noise"],
          [["/".join(key), number(pair[0]["speed"], 1), number(pair[1]["speed"], 1), number(times, 2),
            number(pair[0]["spread"] + pair[1]["spread"], 2)] for times, key, pair in sorted(changed)], 1)


# ---- Machines side by side ----

def best_groups(rows):
    """Rows of the best ISA by (op, layout, dtype, threads), then by shape."""
    groups, best = {}, isas_of(rows)[-1]
    for (op, layout, dtype, shape, isa, threads), row in rows.items():
        if isa == best:
            groups.setdefault((op, layout, dtype, threads), {})[shape] = row
    return groups


def cells(rows):
    """Of one layer, or of means: GB/s and fraction of a copy of each machine, and the speeds over the first's."""
    columns = [number(row[key], digits) for row in rows for key, digits in (("speed", 1), ("copy", 2))]
    return columns + [number(row["speed"] / rows[0]["speed"], 2) for row in rows[1:]]


def print_beside(names, machines):
    machines = [best_groups(rows) for rows in machines]
    print("\nGB/s, each tensor read or written once, of the best ISA. copy: as a fraction of that machine's best copy.\n")
    columns = [f"{name}{what}" for name in names for what in ("", " copy")] + [f"{name}/A" for name in names[1:]]
    means = []
    for group in sorted(set.intersection(*map(set, machines))):
        shapes = [shape for shape in machines[0][group] if all(shape in groups[group] for groups in machines)]
        if not shapes:
            continue
        print(f"## {' '.join(group)}\n")
        rows = {shape: [groups[group][shape] for groups in machines] for shape in shapes}
        table(["layer", "batch x channels x points", *columns],
              [[shape, rows[shape][0]["dimensions"], *cells(rows[shape])] for shape in shapes], 2)
        mean = [{key: geometric_mean([rows[shape][i][key] for shape in shapes]) for key in ("speed", "copy")}
                for i in range(len(machines))]
        means.append([" ".join(group), str(len(shapes)), *cells(mean)])
    if not means:
        sys.exit("these files have no layer in common")
    print("## Geometric means\n")
    table(["", "layers", *columns], means, 1)


def main(paths):
    contexts, machines = zip(*map(read_machine, paths))
    one_cpu = len(paths) == 2 and contexts[0]["cpu"] == contexts[1]["cpu"]
    names = ["before", "after"] if one_cpu else [chr(ord("A") + i) for i in range(len(paths))]
    for name, path, context in zip(names, paths, contexts):
        print_machine(name, path, context)
    if one_cpu:
        print_changes(*machines)
    else:
        print_beside(names, machines)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
