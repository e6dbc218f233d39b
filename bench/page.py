#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes one page of the JSON of bnorm-bench, which needs nothing else and no network: page.py BENCH.json PAGE.html"""

import html
import io
import json
import pathlib
import re
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402

from report import geometric_mean, read_rows  # noqa: E402

GREY = "#808080"  # is read on black and on white
COLOURS = {"bnorm": "#2f81c7", "onednn": "#e0873a", "naive": "#a05fb0", "scalar": "#6a9f58", "copy": GREY}
NAMES = {"onednn": "oneDNN", "naive": "textbook loop", "scalar": "portable C", "copy": "copy"}
OPERATIONS = {"infer": "inference", "train": "training", "backward": "backward"}
NETWORKS = {"resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2", "densenet121": "DenseNet-121",
            "efficientnet_b0": "EfficientNet-B0", "unet3d": "3-D U-Net", "audio": "ECAPA", "points": "PointNet",
            "tabular": "tabular"}
LAYOUTS = {"nchw": "NCHW", "nhwc": "NHWC", "nchw16c": "nChw16c", "nchw8c": "nChw8c"}
PEERS = ("onednn", "naive")


class Results:
    """The rows of a file, the best ISA of them, and what it says of the machine."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        self.context = report["context"]
        self.rows = {key: row for key, row in read_rows(report["benchmarks"]).items() if row}
        if not self.rows:
            sys.exit(f"{path}: no row has a result")
        ours = [isa for *_, isa, _ in self.rows if isa in ("scalar", "avx2", "avx512", "neon", "sve")]
        self.best = max(ours, key=("scalar", "neon", "sve", "avx2", "avx512").index)
        self.threads = max(int(threads[1:]) for *_, threads in self.rows)

    def name(self, isa):
        return f"bnorm, {isa}" if isa == self.best else f"oneDNN {self.context.get('onednn')}" if isa == "onednn" \
            else NAMES.get(isa, isa)

    def chosen(self, isa, op=None, layout=None, dtype="f32", network=None, threads=None):
        """Rows of an ISA by (op, layout, dtype, shape, threads)."""
        threads = f"t{threads or self.threads}"
        return {(o, l, d, s, t): row for (o, l, d, s, i, t), row in self.rows.items()
                if i == isa and t == threads and d == dtype and op in (None, o) and layout in (None, l)
                and network in (None, s.split(".")[0]) and (network == "size" or not s.startswith("size."))}

    def ratio(self, other, **which):
        """The geometric mean of how many times as fast the best ISA is, and of how many rows."""
        ours, theirs = self.chosen(self.best, **which), self.chosen(other, **which)
        ratios = [ours[key]["speed"] / theirs[key]["speed"] for key in ours if key in theirs]
        return geometric_mean(ratios), len(ratios)

    def bound(self, row):
        """The smallest cache of those that hold the tensors of a call, or memory."""
        caches = {f"L{cache['level']}": cache["size"] * (self.threads if cache["level"] < 3 else 1)
                  for cache in self.context["caches"] if cache["type"] != "Instruction"}
        return next((name for name, size in sorted(caches.items()) if row["bytes"] <= size), "memory")


def axes(columns, rows=1, height=3.0):
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bnorm", "font.family": "sans-serif", "font.size": 10,
                                "text.color": GREY, "axes.labelcolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
                                "axes.edgecolor": GREY, "axes.titlecolor": GREY, "legend.labelcolor": GREY,
                                "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, grid = plot.subplots(rows, columns, figsize=(10, height * rows), squeeze=False, sharey=True)
    return figure, list(grid.flat)


def svg(figure, legend_of=None):
    """The figure's text, to be part of a page."""
    if legend_of:
        handles, labels = legend_of.get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper right", ncols=len(labels), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.92 if legend_of else 1))
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plot.close(figure)
    return text.getvalue()[text.getvalue().index("<svg"):]


def networks(results):
    figure, panels = axes(3)
    for axis, (op, title) in zip(panels, OPERATIONS.items()):
        shown = [n for n in NETWORKS if results.ratio(PEERS[0], op=op, network=n)[1] or results.ratio(PEERS[1], op=op, network=n)[1]]
        for i, peer in enumerate(PEERS):
            values = [results.ratio(peer, op=op, network=network)[0] or 0 for network in shown]
            at = [j + (i - 0.5) * 0.38 for j in range(len(shown))]
            bars = axis.barh(at, values, 0.36, color=COLOURS[peer], label=f"times as fast as {results.name(peer)}")
            axis.bar_label(bars, [f"{value:.1f}" if value else "" for value in values], fontsize=8, color=GREY)
        axis.set_yticks(range(len(shown)), [NETWORKS[network] for network in shown])
        axis.axvline(1, color=GREY, linewidth=0.8)
        axis.set_title(title)
    return svg(figure, panels[0])


def roofline(results):
    figure, panels = axes(3)
    for axis, (op, title) in zip(panels, OPERATIONS.items()):
        rows = list(results.chosen(results.best, op=op).values()) + list(results.chosen(results.best, op=op, network="size").values())
        sizes = [row["bytes"] for row in rows]
        axis.scatter(sizes, [row["speed"] / row["limit"] for row in rows], s=14, marker="_", color=COLOURS["copy"],
                     label="the same loads and stores, no arithmetic")
        axis.scatter(sizes, [row["speed"] for row in rows], s=10, color=COLOURS["bnorm"], label=results.name(results.best))
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(title)
        label_bytes(axis)
    panels[0].set_ylabel("GB/s")
    return svg(figure, panels[0])


def label_bytes(axis):
    axis.set_xticks([2**10, 2**14, 2**18, 2**22, 2**26, 2**30], ["1 KB", "16 KB", "256 KB", "4 MB", "64 MB", "1 GB"])
    axis.tick_params(axis="x", labelsize=8)


def size(results):
    figure, panels = axes(3, 2)
    for axis, (layout, op) in zip(panels, [(layout, op) for layout in ("nchw", "nhwc") for op in OPERATIONS]):
        for isa in (results.best, "scalar", *PEERS):
            rows = sorted(results.chosen(isa, op=op, layout=layout, network="size").values(), key=lambda row: row["bytes"])
            colour = COLOURS["bnorm" if isa == results.best else isa]
            if rows:
                axis.plot([row["bytes"] for row in rows], [row["speed"] for row in rows], color=colour, label=results.name(isa))
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(f"{OPERATIONS[op]}, {layout.upper()}")
        label_bytes(axis)
    panels[0].set_ylabel("GB/s")
    return svg(figure, panels[0])


def accuracy(results):
    figure, panels = axes(2)
    for axis, layout in zip(panels, ("nchw", "nhwc")):
        for name in ("bnorm", *PEERS):
            found = {float(key.rsplit(".", 1)[1]): float(value) for key, value in results.context.items()
                     if key.startswith(f"error.{name}.{layout}.")}
            at = sorted(found)
            label = f"{NAMES.get(name, name)}; bits with threads: {results.context.get(f'bits.{name}.{layout}', 'one thread')}"
            axis.plot([max(offset, 1) for offset in at], [found[offset] for offset in at], "o-", color=COLOURS[name], label=label)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(layout.upper())
        axis.set_xlabel("offset of the values, whose standard deviation is 1")
        axis.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("largest error of y")
    return svg(figure)


def bars(results, groups, values, unit):
    """Bars by operation and layout: values(label, op, layout) of each label."""
    figure, panels = axes(3, height=2.6)
    layouts = list(dict.fromkeys(key[1] for key in results.rows))
    for axis, (op, title) in zip(panels, OPERATIONS.items()):
        for i, label in enumerate(groups):
            at = [j + (i - (len(groups) - 1) / 2) * 0.8 / len(groups) for j in range(len(layouts))]
            of = [values(label, op, layout) or 0 for layout in layouts]
            drawn = axis.bar(at, of, 0.75 / len(groups), label=label, alpha=1 - 0.25 * i, color=COLOURS["bnorm"])
            axis.bar_label(drawn, [f"{value:.3g}" if value else "" for value in of], fontsize=7, color=GREY)
        axis.set_xticks(range(len(layouts)), [LAYOUTS[layout] for layout in layouts])
        axis.set_title(title)
    panels[0].set_ylabel(unit)
    return svg(figure, panels[0])


def speed_of(results, **which):
    return geometric_mean([row["speed"] for row in results.chosen(results.best, network="resnet50", **which).values() if row["cold"]])


def threads(results):
    return bars(results, [f"{count} threads" if count > 1 else "1 thread" for count in sorted({1, results.threads})],
                lambda label, op, layout: speed_of(results, op=op, layout=layout, threads=int(label.split()[0])), "GB/s")


def types(results):
    sizes = {"f32": 4, "bf16": 2, "f16": 2}
    found = [dtype for dtype in sizes if any(key[2] == dtype for key in results.rows)]

    def elements(dtype, op, layout):
        speed = speed_of(results, op=op, layout=layout, dtype=dtype)
        return speed and speed / sizes[dtype] / (3 if op == "backward" else 2)
    return bars(results, found, elements, "billion elements a second")


def table(results):
    columns = ["operation", "layout", "type", "shape", "by", "threads", "N x C x points", "GB/s", "/ oneDNN", "of the limit",
               "bound by", "spread"]
    lines = []
    for (op, layout, dtype, shape, isa, threads), row in results.rows.items():
        peer = results.rows.get((op, layout, dtype, shape, "onednn", threads))
        cells = [op, layout, dtype, shape, isa, threads[1:], row["dimensions"], f"{row['speed']:.1f}",
                 f"{row['speed'] / peer['speed']:.2f}" if peer else "", f"{row['limit']:.2f}", results.bound(row),
                 f"{row['spread']:.2f}"]
        lines.append("<tr>" + "".join(f'<td{" class=text" if i < 5 else ""}>{html.escape(cell)}</td>'
                                      for i, cell in enumerate(cells)) + "</tr>")
    heads = "".join(f'<th{" class=text" if i < 5 else ""}><button>{html.escape(name)}</button></th>'
                    for i, name in enumerate(columns))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>\n" + "\n".join(lines) + "\n</tbody></table>"


def headline(results):
    """What the page begins with."""
    said = []
    for op, name in OPERATIONS.items():
        times, rows = results.ratio("onednn", op=op, network="resnet50")
        if rows:
            said.append(f"{times:.2f} times as fast in {name}")
    limits = [row["limit"] for row in results.chosen(results.best, network="resnet50").values() if row["cold"]]
    if limits:
        said.append(f"{'and ' * bool(said)}at {geometric_mean(limits):.0%} of what the machine can move")
    beside = f" beside oneDNN {results.context['onednn']}" if "onednn" in results.context else ""
    return f"On the batch norms of ResNet-50, bnorm{beside} is {', '.join(said)}."


SECTIONS = [
    ("By network", networks, "f32, all threads; geometric means over layers and layouts. Above 1, bnorm is faster."),
    ("Against the limit", roofline, "Each layer of the networks and each size, all layouts, f32, all threads. The limit is the best "
     "loop with the same loads and stores and no arithmetic, measured in the same minute."),
    ("From 1 KB to 1 GB", size, "f32, all threads; the sizes are of all tensors of a call together."),
    ("Accuracy", accuracy, "The largest error of training's y, of 8 x 64 x 784 values, against double."),
    ("Threads", threads, "Layers of ResNet-50 that do not fit the caches, geometric means."),
    ("Types", types, "The same, in elements, as 16-bit types move half of the bytes."),
]


def main():
    source, page = map(pathlib.Path, sys.argv[1:])
    results = Results(source)
    context = results.context
    parts = [f"<h1>{html.escape(headline(results))}</h1>",
             f"<p class=soft>{html.escape(context['cpu'])}, {context['num_cpus']} CPUs, {context['pages']}; bnorm "
             f"{context['bnorm_version']} at {context['bnorm_commit']}, {context['compiler']}; {context['date'][:10]}. GB/s count each "
             "tensor once, read or written.</p>"]
    for i, (title, draw, words) in enumerate(SECTIONS):
        # Names of elements must differ from those of other figures.
        figure = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>s{i}-", draw(results))
        parts.append(f"<h2>{title}</h2>\n<p class=soft>{words}</p>\n<div class=chart>{figure}</div>")
    parts.append('<h2>All rows</h2>\n<p><input id=filter type=search placeholder="Filter: words that a row has; -word: has not" '
                 f'aria-label="Filter"> <span id=count class=soft></span></p>\n<div id=rows class=wide>{table(results)}</div>')
    parts.append("<h2>How it was measured</h2>\n<p>Rows that are compared take turns, and each is the median of "
                 f"{context['rounds']} rounds. Each result was checked against a reference in double before it was timed. spread: from "
                 "the first quartile of the rounds to the third, as a fraction of the median. bound by: the smallest cache that holds "
                 f"the tensors of a call.</p>\n<pre>bnorm-bench {html.escape(context['arguments'])}</pre>")
    template = pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    page.write_text(template.replace("<!--body-->", "\n".join(parts)), encoding="utf-8")
    print(headline(results))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
