#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compares the JSON of bnorm-bench: compare.py FILE...

Two files of one CPU are before and after: what changed beyond noise. Others are laid side by side, each with its best ISA.
"""

import json
import math
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
    """How many times as fast: by itself, or beside the copy of its own run, whichever is less of a change."""
    return min((after[key] / before[key] for key in ("speed", "copy")), key=lambda times: abs(math.log(times)))


def floor_of(before, after):
    """What 19 of 20 rows of others, which no commit of ours changes, differ by from run to run; a factor."""
    others = sorted(abs(math.log(change(before[key], after[key]))) for key in before
                    if key in after and key[4] in ("naive", "onednn"))
    return math.exp(others[len(others) * 19 // 20]) if len(others) >= 20 else 1


def is_noise(before, after, floor):
    """A change is larger than what the rounds of both runs differed by, together, and than what others' rows do."""
    noise = max(floor, (1 + before["spread"]) * (1 + after["spread"]))
    return 1 / noise <= change(before, after) <= noise


def print_changes(before, after):
    """By (op, layout, dtype, threads) the means, then the rows that changed."""
    common = [key for key in before if key in after]
    if not common:
        sys.exit("these files have no row in common")
    groups, changed, floor = {}, [], floor_of(before, after)
    for key in common:
        op, layout, dtype, shape, isa, threads = key
        pair = before[key], after[key]
        groups.setdefault((op, layout, dtype, isa, threads), []).append(pair)
        if not is_noise(*pair, floor):
            changed.append((change(*pair), key, pair))
    print(f"\nSpeeds by themselves, or beside the copy of the same run, whichever changed less. Of rows that no commit changes, 19 of 20 "
          f"differed by less than a factor of {floor:.2f}; less is noise.\n")
    table(["", "rows", "after / before", "faster", "slower"],
          [[" ".join(group), str(len(pairs)), number(geometric_mean([change(*pair) for pair in pairs]), 3),
            str(sum(change(*pair) > 1 and not is_noise(*pair, floor) for pair in pairs)),
            str(sum(change(*pair) < 1 and not is_noise(*pair, floor) for pair in pairs))] for group, pairs in groups.items()], 1)
    if not changed:
        print(f"None of {len(common)} rows changed beyond noise.")
        return
    print(f"{len(changed)} of {len(common)} rows changed beyond noise:\n")
    table(["row", "before, GB/s", "after", "after / before", "spread"],
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
