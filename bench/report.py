#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prints the JSON of bnorm-bench as Markdown that is also legible in a terminal: report.py FILE"""

import json
import math
import statistics
import sys

OURS = ("scalar", "neon", "sve", "avx2", "avx512")  # from the slowest to the best
PEERS = ("onednn", "pytorch", "xnnpack", "onnxruntime", "ncnn")
PEER_NAMES = {"onednn": "oneDNN", "pytorch": "PyTorch", "xnnpack": "XNNPACK", "onnxruntime": "ONNX Runtime", "ncnn": "ncnn"}
MEASURED = ("copy", "limit", "spread", "read", "write", "call")  # of each row, beside its speed


def read_rows(benchmarks):
    """Results by (op, layout, dtype, shape, isa, threads), medians of the repetitions; None for a failure."""
    runs = {}
    for run in benchmarks:
        if run.get("run_type", "iteration") == "iteration" and run.get("error_message") != "interrupted":
            runs.setdefault(tuple(run["name"].split("/")[:6]), []).append(run)

    rows = {}
    for key, repetitions in runs.items():
        failed = any(run.get("error_occurred") for run in repetitions)
        rows[key] = None if failed else {
            "speed": statistics.median(run["bytes_per_second"] for run in repetitions) / 1e9,
            "bytes": round(repetitions[0]["bytes_per_second"] * repetitions[0]["real_time"] / 1e9),
            **{key: statistics.median(run[key] for run in repetitions) for key in MEASURED},
            "cold": bool(repetitions[0]["cold"]),
            "dimensions": repetitions[0]["label"],
        }
    return rows


def isas_of(rows):
    """Ours last, and the best of them as the very last."""
    return sorted(dict.fromkeys(isa for *_, isa, _ in rows), key=lambda isa: OURS.index(isa) if isa in OURS else -1)


def bound_of(row, threads, context):
    """What bounds a row, and how close it is to that: the call, the smallest cache that holds its tensors, or memory."""
    if row["call"] > 0.5:
        return "call", row["call"]
    sizes = {f"L{cache['level']}": cache["size"] * (threads if cache["level"] < 3 else 1)
             for cache in context["caches"] if cache["type"] != "Instruction"}
    return next((name for name, size in sorted(sizes.items()) if row["bytes"] <= size), "memory"), row["limit"]


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values))) if values else None


def number(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def table(header, lines, text_columns):
    """A Markdown table with aligned columns: the first `text_columns` to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *lines)]
    rule = [("-" * width) if i < text_columns else ("-" * (width - 1) + ":") for i, width in enumerate(widths)]
    for line in [header, rule, *lines]:
        cells = [cell.ljust(w) if i < text_columns else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths))]
        print("| " + " | ".join(cells) + " |")
    print()


def ratio(cells, isa, other):
    return cells[isa]["speed"] / cells[other]["speed"] if cells.get(isa) and cells.get(other) else None


def compared(isas):
    """Which speed is divided by which, by the column's name: the best one by others, AVX2 by what is held to it."""
    pairs = {f"/{isa}": (isas[-1], isa)
             for isa in ("f32", "scalar", *PEERS, "unfused", "bare", "none") if isa in isas[:-1]}
    if "avx2" in isas:
        pairs.update({f"avx2/{isa}": ("avx2", isa) for isa in isas if isa.endswith("-avx2")})
    return pairs


def speeds(cells, isas):
    """The columns of one line: GB/s of each ISA, ratios, and of the best one (the last) the limit and the spread."""
    best = cells.get(isas[-1])
    columns = ["FAILED" if isa in cells and not cells[isa] else number(cells.get(isa) and cells[isa]["speed"], 1)
               for isa in isas]
    gains = [number(ratio(cells, *pair), 2) for pair in compared(isas).values()]
    return columns + gains + [number(best and best[key], 2) for key in ("copy", "limit", "spread")]


def mean_cells(all_cells, isas):
    """Cells of geometric means, over the shapes where every ISA has a value, so that columns compare."""
    complete = [cells for cells in all_cells if all(cells.get(isa) for isa in isas)]
    return len(complete), {
        isa: {
            "speed": geometric_mean([cells[isa]["speed"] for cells in complete]),
            "copy": geometric_mean([cells[isa]["copy"] for cells in complete]),
            "limit": geometric_mean([cells[isa]["limit"] for cells in complete]),
            "spread": statistics.median(cells[isa]["spread"] for cells in complete),
        }
        for isa in isas if complete
    }


def least(all_cells, isas):
    """The ratios again, where they are worst."""
    best = isas[-1]
    ratios = [[ratio(cells, *pair) for cells in all_cells] for pair in compared(isas).values()]
    ratios += [[cells[best][key] for cells in all_cells if cells.get(best)] for key in ("copy", "limit")]
    return [number(min((r for r in column if r is not None), default=None), 2) for column in ratios]


def print_context(context, best):
    caches = {f"L{c['level']}{'' if c['type'] == 'Unified' else c['type'][0].lower()}": c["size"]
              for c in context["caches"] if c["type"] != "Instruction"}
    sizes = [f"{name} {size / 2**20:g} MiB" if size >= 2**20 else f"{name} {size / 2**10:g} KiB"
             for name, size in caches.items()]
    load = [f"load {context['load_avg'][0]:.1f} at the start"] if context["load_avg"] else []
    print(f"# bnorm {context['bnorm_version']}, commit {context['bnorm_commit']}\n")
    print(f"- {context['cpu']}: {', '.join([str(context['num_cpus']) + ' CPUs', *sizes])}")
    peers = [f"{name} {context[peer]}" for peer, name in PEER_NAMES.items() if peer in context]
    print(f"- {', '.join([context['compiler'], *peers, context['date'], *load])}")
    print(f"- medians of {context['rounds']} rounds, in which the rows of a line and the copy take turns")
    print(f"- `bnorm-bench {context['arguments']}`\n")
    if "onednn" in context and int(context["onednn"].split(".")[0]) < 3:
        print(f"**oneDNN {context['onednn']} is no measure of today's: `./run peers` builds the newest that Debian has.**\n")
    print(f"GB/s, each tensor read or written once: two, in backward three. /scalar, /onednn ...: {best} over portable C, over")
    print("oneDNN ... -avx2: held to AVX2. -huge: in huge pages; all others are in small ones. -inplace: from y to y. -call: as its")
    print("users call it, which allocates. copy: the speed as a fraction of that of the best copy of that size, in backward of the best loop that makes")
    print("one tensor of two. limit: of the best loop with the same loads and stores and no arithmetic: training and backward read")
    print("their inputs twice, the second time from where they then lie; collect only reads. spread: from the first quartile of the")
    print("rounds to the third, as a fraction of the median. The fourth column is what bounds the row: the call, where an empty one")
    print("takes more than half of the time, or the smallest cache that holds all of its tensors, or memory. cold: each of")
    print("them exceeds the last-level cache. t1, t2 ...: threads.\n")
    print("op+epilogue: a residual, and its gradient, count too. none: the same call without the epilogue; unfused: batch norm")
    print("and then the epilogue, in two calls; bare: the activation alone, from one tensor to another; onednn: a primitive for")
    print("each. f32: the same call on floats, which are twice as many bytes.\n")


def main(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    rows = read_rows(report["benchmarks"])
    if not any(rows.values()):
        sys.exit(f"{path}: no row has a result")
    all_isas = isas_of(rows)
    groups = {}
    for (op, layout, dtype, shape, isa, threads), row in rows.items():
        groups.setdefault((op, layout, dtype, threads), {}).setdefault(shape, {})[isa] = row

    best = all_isas[-1]
    print_context(report["context"], best)
    means = {}  # by columns
    for (op, layout, dtype, threads), shapes in sorted(groups.items()):
        isas = [isa for isa in all_isas if any(isa in cells for cells in shapes.values())]
        base = groups.get((op.split("+")[0], layout, dtype, threads), {})
        if "+" in op and base:  # what the same call reaches without an epilogue
            isas.insert(0, "none")
            for shape, cells in shapes.items():
                cells["none"] = base.get(shape, {}).get(best)
        floats = groups.get((op, layout, "f32", threads), {})
        if dtype != "f32" and floats:
            isas.insert(0, "f32")
            for shape, cells in shapes.items():
                cells["f32"] = floats.get(shape, {}).get(best)
        columns = [*isas, *compared(isas), "copy", "limit", "spread"]
        print(f"## {op} {layout} {dtype} {threads}\n")
        lines = []
        for shape, cells in shapes.items():
            any_row = cells.get(isas[-1]) or next(filter(None, cells.values()), None)
            state, bound = ("cold" if any_row["cold"] else "hot", bound_of(any_row, int(threads[1:]), report["context"])[0]) \
                if any_row else ("?", "?")
            lines.append([shape, any_row["dimensions"] if any_row else "?", state, bound, *speeds(cells, isas)])
        table(["layer", "batch x channels x points", "", "", *columns], lines, 4)
        for state in ("hot", "cold"):
            chosen = [cells for cells, line in zip(shapes.values(), lines) if line[2] == state]
            count, cells = mean_cells(chosen, isas)
            if count:
                means.setdefault(tuple(columns), []).append(
                    [f"{op} {layout} {dtype} {threads}", state, str(count), *speeds(cells, isas), *least(chosen, isas)])

    print("## Geometric means, and the least of each ratio\n")
    for columns, lines in means.items():
        ratios = [column for column in columns if "/" in column or column in ("copy", "limit")]
        table(["", "", "layers", *columns, *("least " + column for column in ratios)], lines, 2)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
