#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the numbers of README.md and docs/performance.md, and draws docs/throughput.svg, from results that are kept; with
--check, says whether the numbers are those: documents.py [--check]

They stand between lines <!-- measured: NAME --> and <!-- end -->.
"""

import pathlib
import re
import sys
import textwrap

from measurements import LAYOUTS, OPERATIONS, Results

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = "bench/results/amd-epyc-zen4-2-cpus.json"
FROM_MEMORY = {"network": "resnet50", "cold": True}


def span(values, digits=2):
    """From the least to the largest of what there is."""
    values = sorted(value for value in values if value is not None)
    ends = [f"{values[i]:.{digits}f}" for i in (0, -1)] if values else ["-"]
    return " to ".join(dict.fromkeys(ends))


def paragraph(text, indent=""):
    return textwrap.fill(text, 100, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def by_layout(results, value):
    """A value for each layout, as (layout) -> number or None."""
    return [value(layout) for layout in results.layouts]


def copies(results, op):
    return by_layout(results, lambda layout: results.mean(results.best, "copy", op=op, layout=layout, **FROM_MEMORY))


def limits(results, op):
    return by_layout(results, lambda layout: results.mean(results.best, "limit", op=op, layout=layout, **FROM_MEMORY))


def times(results, peer, op):
    return by_layout(results, lambda layout: results.ratio(peer, op=op, layout=layout, **FROM_MEMORY))


def caption(results):
    return paragraph("The layers of ResNet-50 whose tensors exceed the caches, f32, batch 32, "
                     f"{results.threads} threads, GB/s. For backward the copy makes one tensor of two. {results.machine()}: "
                     "`./run peers pip` and `./run report`.")


def fast(results):
    pytorch = [value for op in OPERATIONS for value in times(results, "pytorch", op)]
    return paragraph(
        f"- **Fast.** {results.headline()} By layout, inference runs at {span(copies(results, 'infer'))} of a copy and training at "
        f"{span(copies(results, 'train'))}, which is {span(times(results, 'onednn', 'infer'), 1)} times the throughput of oneDNN in "
        f"inference, {span(times(results, 'onednn', 'train'), 1)} in training and {span(times(results, 'onednn', 'backward'), 1)} in "
        f"backward, and {span(pytorch, 1)} times that of PyTorch. [performance.md](docs/performance.md) says what bounds it, and where "
        "oneDNN wins. (`./run report`)", "  ")


def short(results):
    lines = []
    for op, name in OPERATIONS.items():
        of = "a loop that makes one tensor of two" if op == "backward" else "a copy"
        limit = "" if op == "infer" else f", which is {span(limits(results, op))} of a loop with the same loads and stores and no arithmetic"
        lines.append(paragraph(
            f"- {name} runs at {span(copies(results, op))} of {of}{limit}, and at {span(times(results, 'onednn', op))} times the "
            f"throughput of oneDNN and {span(times(results, 'pytorch', op))} times that of PyTorch.", "  "))
    return "\n".join(lines)


def grid(lines):
    """A Markdown table; all columns but the first are numbers."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join("| " + " | ".join(cell.rjust(width) if i else cell.ljust(width) for i, (cell, width) in enumerate(zip(line, widths)))
                     + " |" for line in [lines[0], rule, *lines[1:]])


def number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def standing(results):
    lines = [["", "from", "oneDNN", "PyTorch", "bnorm", "/ oneDNN", "least", "/ PyTorch", "of the limit"]]
    for op, name in OPERATIONS.items():
        for layout in results.layouts:
            for cold in (False, True):
                which = {"op": op, "layout": layout, "network": "resnet50", "cold": cold}
                ratios = results.ratios(results.best, "onednn", **which)
                if ratios:
                    lines.append([f"{name} {LAYOUTS[layout]}", "memory" if cold else "cache",
                                  number(results.mean("onednn", **which), 1), number(results.mean("pytorch", **which), 1),
                                  number(results.mean(results.best, **which), 1), number(results.ratio("onednn", **which)),
                                  number(min(ratios)), number(results.ratio("pytorch", **which)),
                                  number(results.mean(results.best, "limit", **which))])
    return paragraph(f"{results.machine()}; medians of {results.context['rounds']} rounds, {results.threads} threads, f32:") + "\n\n" + grid(lines)


def elements(results, cold):
    """How many times as many elements in bf16 as in f32, of layers that both have from memory, or from a cache."""
    return [ratio * 2 for op in OPERATIONS for layout in results.layouts
            if (ratio := results.dtype_ratio("bf16", op=op, layout=layout, network="resnet50", cold=cold)) is not None]


def slower(results, dtype):
    ratios = results.ratios(results.best, "onednn", dtype=dtype) + results.ratios("avx2", "onednn-avx2", dtype=dtype)
    return f"{sum(ratio < 1 for ratio in ratios)} of {len(ratios)}, least {min(ratios):.2f}" if ratios else "-"


def targets(results):
    def each(values):
        return ", ".join(number(value) for value in values)

    def one_image(shape):
        row = results.rows.get(("train", "nchw", "f32", f"resnet50.{shape}", results.best, f"t{results.threads}"))
        return row and row["copy"]
    reading = by_layout(results, lambda layout: results.mean(results.best, "limit", op="collect", layout=layout, threads=1, **FROM_MEMORY))
    return grid([
        ["from memory: " + ", ".join(LAYOUTS[layout] for layout in results.layouts), "aim", "reached"],
        ["inference, of a copy", "0.92", each(copies(results, "infer"))],
        ["training, of a copy", "0.80, 0.65, 0.80", each(copies(results, "train"))],
        ["backward, of a loop that makes one tensor of two", "0.6, 0.5, 0.6", each(copies(results, "backward"))],
        ["`bnorm_train_collect`, of reading, one thread", "0.9", each(reading)],
        ["bf16 over f32, elements per second", "1.8", span(elements(results, True))],
        ["the same from cache", "1.6 with AVX512_BF16", span(elements(results, False))],
        ["training of one image from cache, NCHW, of a copy: 14², 7²", "0.6, 0.35", each(map(one_image, ("stage3b_b1", "stage4b_b1")))],
        ["layers slower than oneDNN, f32", "2 in 100, least 0.9", slower(results, "f32")],
        ["layers slower than oneDNN, bf16", "5 in 100, least 0.8", slower(results, "bf16")],
    ])


BLOCKS = {"README.md": (caption, fast), "docs/performance.md": (short, standing, targets)}


def main():
    results, check, stale = Results(ROOT / SOURCE), "--check" in sys.argv, []
    for path, blocks in BLOCKS.items():
        old = new = (ROOT / path).read_text(encoding="utf-8")
        for block in blocks:
            text = block(results)
            new, found = re.subn(rf"(<!-- measured: {block.__name__} -->\n\n).*?(<!-- end -->)",
                                 lambda match, text=text: f"{match[1]}{text}\n\n{match[2]}", new, flags=re.S)
            if found != 1:
                sys.exit(f"{path} has no place for {block.__name__}")
        if old != new:
            stale.append(path)
        if not check:
            (ROOT / path).write_text(new, encoding="utf-8")
    if check:
        sys.exit(f"not the numbers of {SOURCE}: {', '.join(stale)}" if stale else 0)
    import charts  # which needs matplotlib
    (ROOT / "docs/throughput.svg").write_text(charts.throughput(results), encoding="utf-8")


if __name__ == "__main__":
    main()
