#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Draws throughput by operation and layout, from the JSON of bnorm-bench and of pytorch.py:

chart.py BENCH.json PYTORCH.json CHART.svg

Bars are geometric means over the layers of ResNet-50 (batch 32, f32) that do not fit the caches, with every thread. As
PyTorch has memory and threads of its own, its bar is bnorm's divided by how many times as fast bnorm was there, where both
took turns. The same numbers are printed as a table.
"""
import json
import re
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402

from report import geometric_mean, read_rows, table  # noqa: E402

OPERATIONS = {"infer": "inference", "train": "training", "backward": "backward"}
LAYOUTS = {"nchw": "NCHW", "nhwc": "NHWC", "nchw16c": "nChw16c", "nchw8c": "nChw8c"}
COLOURS = {"copy": "#b8b8b8", "bnorm": "#1f6fb4", "oneDNN": "#e0873a", "PyTorch": "#c0483f"}


def read_bench(path):
    """GB/s by (op, layout), name and layer, of the layers from memory; how many threads; and what the bench says of itself."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    rows = {key: row for key, row in read_rows(report["benchmarks"]).items() if row and row["cold"]}
    most = max(int(threads[1:]) for *_, threads in rows)
    speeds = {}
    for (op, layout, dtype, shape, isa, threads), row in rows.items():
        if dtype != "f32" or threads != f"t{most}" or op not in OPERATIONS or not re.fullmatch(r"resnet50\.[a-z0-9]+", shape):
            continue
        of = speeds.setdefault((op, layout), {"copy": {}, "bnorm": {}, "oneDNN": {}})
        if isa == "onednn":
            of["oneDNN"][shape] = row["speed"]
        elif isa not in ("bare", "unfused", "none", "onednn-avx2"):  # the best ISA comes last
            of["bnorm"][shape], of["copy"][shape] = row["speed"], row["speed"] / row["copy"]
    return speeds, most, report["context"]


def add_pytorch(path, speeds, threads):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    if report["threads"] != threads:
        sys.exit(f"{path} is of {report['threads']} threads")
    for result in report["results"]:
        of, layer = speeds.get((result["op"], result["layout"]), {}), result["layer"]
        if result["dtype"] == "f32" and not result["relu"] and result["batch"] == 32 and layer in of.get("bnorm", {}):
            of.setdefault("PyTorch", {})[layer] = of["bnorm"][layer] / result["times"]
    return report["pytorch"]


def draw(means, title, path):
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bnorm", "font.family": "sans-serif", "font.size": 11})
    figure, axes = plot.subplots(1, len(OPERATIONS), figsize=(10, 3.6), sharey=True)
    for axis, (op, name) in zip(axes, OPERATIONS.items()):
        layouts = [layout for layout in LAYOUTS if (op, layout) in means]
        for i, (series, colour) in enumerate(COLOURS.items()):
            at = [j + (i - 1.5) * 0.2 for j in range(len(layouts))]
            bars = axis.bar(at, [means[op, layout].get(series, 0) for layout in layouts], 0.19, color=colour, label=series)
            axis.bar_label(bars, [f"{value:.0f}" if value else "" for value in bars.datavalues], fontsize=8, color="#777777")
        axis.set_title(name, color="#777777")
        axis.set_xticks(range(len(layouts)), [LAYOUTS[layout] for layout in layouts], color="#777777")
        axis.tick_params(colors="#777777", length=0)
        axis.spines[:].set_visible(False)
    axes[0].set_ylabel("GB/s", color="#777777")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper right", ncols=4, frameon=False, labelcolor="#777777")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color="#777777")
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.savefig(path, transparent=True, metadata={"Date": None})


def main():
    bench, pytorch, chart = sys.argv[1:]
    speeds, threads, context = read_bench(bench)
    version = add_pytorch(pytorch, speeds, threads)
    means = {}
    for key, of in speeds.items():
        layers = set.intersection(*(set(layers) for layers in of.values()))
        if layers:
            means[key] = {name: geometric_mean([values[layer] for layer in sorted(layers)]) for name, values in of.items()}
    print(f"bnorm {context['bnorm_version']} at {context['bnorm_commit']}, oneDNN {context.get('onednn')}, PyTorch {version}, "
          f"{context['cpu']}, {threads} threads, {context['compiler']}, {context['pages']}, {context['date'][:10]}\n")
    table(["GB/s", *COLOURS], [[f"{op} {layout}", *(f"{of[name]:.1f}" if name in of else "-" for name in COLOURS)]
                               for (op, layout), of in means.items()], 1)
    draw(means, f"f32 from memory, {threads} threads, GB/s", chart)


if __name__ == "__main__":
    main()
