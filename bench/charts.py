# SPDX-License-Identifier: MIT
"""The charts of the page and of README.md: each takes Results and gives an SVG as text."""

import io

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plot  # noqa: E402

from report import PEERS, geometric_mean  # noqa: E402
from measurements import LAYOUTS, NETWORKS, OPERATIONS  # noqa: E402

GREY = "#808080"  # is read on black and on white
COLOURS = {"copy": "#a8a8a8", "bnorm": "#2f81c7", "onednn": "#e0873a", "pytorch": "#c0483f", "naive": "#a05fb0", "scalar": "#6a9f58",
           "xnnpack": "#c9a227", "onnxruntime": "#3fa7a0", "ncnn": "#d46fa0"}
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "bnorm", "font.family": "sans-serif", "font.size": 10,
                            "text.color": GREY, "axes.labelcolor": GREY, "xtick.color": GREY, "ytick.color": GREY,
                            "axes.edgecolor": GREY, "axes.titlecolor": GREY, "legend.labelcolor": GREY, "axes.titlesize": 10,
                            "axes.spines.top": False, "axes.spines.right": False})


def axes(columns, rows=1, height=3.0):
    figure, grid = plot.subplots(rows, columns, figsize=(10, height * rows), squeeze=False, sharey=True)
    return figure, list(grid.flat)


def svg(figure, legend_of=None):
    if legend_of:
        handles, labels = legend_of.get_legend_handles_labels()
        lines = max(1, -(-sum(len(label) + 7 for label in labels) // 120))  # as many letters fit a line
        figure.legend(handles, labels, loc="upper right", ncols=-(-len(labels) // lines) or 1, frameon=False)
        top = 1 - 0.3 * lines / figure.get_figheight()
    figure.tight_layout(rect=(0, 0, 1, top if legend_of else 1))
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    plot.close(figure)
    return text.getvalue()[text.getvalue().index("<svg"):]


def bars(results, series, layouts, value, unit, height=2.8):
    """Bars by operation and layout: value(name, op, layout) of each of the series, which are (name, label, colour, alpha)."""
    figure, panels = axes(len(OPERATIONS), height=height)
    for axis, (op, title) in zip(panels, OPERATIONS.items()):
        for i, (name, label, colour, alpha) in enumerate(series):
            at = [j + (i - (len(series) - 1) / 2) * 0.84 / len(series) for j in range(len(layouts))]
            values = [value(name, op, layout) or 0 for layout in layouts]
            drawn = axis.bar(at, values, 0.8 / len(series), label=label, color=COLOURS[colour], alpha=alpha)
            axis.bar_label(drawn, [f"{v:.3g}" if v else "" for v in values], fontsize=7, color=GREY)
        axis.set_xticks(range(len(layouts)), [LAYOUTS[layout] for layout in layouts])
        axis.set_title(title)
    panels[0].set_ylabel(unit)
    return svg(figure, panels[0])


def of_peers(results, names, suffix=""):
    """Series of what there is, by name."""
    return [(name + suffix, results.name(name), name, 1) for name in names if results.has(name + suffix)]


def ours(results, isa=None):
    return (isa or results.best, results.name(results.best) if not isa else f"bnorm, {isa}", "bnorm", 1)


def throughput(results):
    """The copy, bnorm and the peers that train, on the layers of ResNet-50 from memory."""
    peers = of_peers(results, ("onednn", "pytorch"))

    def value(name, op, layout):
        beside = [peer for peer, *_ in peers if results.chosen(peer, op=op, layout=layout)]
        which = {"op": op, "layout": layout, "network": "resnet50", "cold": True, "beside": beside}
        speed = results.mean(results.best if name == "copy" else name, **which)
        return speed / results.mean(results.best, "copy", **which) if name == "copy" and speed else speed
    return bars(results, [("copy", "copy", "copy", 1), ours(results), *peers], results.layouts, value, "GB/s", 3.4)


def networks(results):
    figure, panels = axes(3, height=3.6)
    peers = [peer for peer in ("onednn", "pytorch", "naive") if results.has(peer)]
    for axis, (op, title) in zip(panels, OPERATIONS.items()):
        shown = [network for network in NETWORKS if any(results.ratio(peer, op=op, network=network) for peer in peers)]
        for i, peer in enumerate(peers):
            values = [results.ratio(peer, op=op, network=network) or 0 for network in shown]
            at = [j + (i - (len(peers) - 1) / 2) * 0.8 / len(peers) for j in range(len(shown))]
            drawn = axis.barh(at, values, 0.76 / len(peers), color=COLOURS[peer], label=f"times as fast as {results.name(peer)}")
            axis.bar_label(drawn, [f"{value:.1f}" if value else "" for value in values], fontsize=7, color=GREY)
        axis.set_yticks(range(len(shown)), [NETWORKS[network] for network in shown])
        axis.axvline(1, color=GREY, linewidth=0.8)
        axis.set_title(title)
    return svg(figure, panels[0])


def as_called(results):
    series = [ours(results), (f"{results.best}-inplace", "bnorm, in place", "bnorm", 0.55), *of_peers(results, ("onednn", "xnnpack"))]
    for name, label, colour, _ in of_peers(results, ("pytorch", "onnxruntime", "ncnn")):
        in_place = ", in place" if name == "ncnn" else ""
        series += [(name, label + in_place, colour, 1), (f"{name}-call", f"{label}, as users call it", colour, 0.55)]
    layouts = [layout for layout in results.layouts if layout in ("nchw", "nhwc")]
    return bars(results, series, layouts, lambda name, op, layout: results.mean(
        name, op=op, layout=layout, network="resnet50", cold=True), "GB/s", 3.6)


def same_isa(results):
    series = [ours(results, "avx2"), *of_peers(results, ("onednn", "pytorch"), "-avx2")]
    layouts = [layout for layout in results.layouts if layout in ("nchw", "nhwc")]
    return bars(results, series, layouts, lambda name, op, layout: results.mean(
        name, op=op, layout=layout, network="resnet50", beside=[name for name, *_ in series]), "GB/s")


def roofline(results):
    figure, panels = axes(3)
    for axis, (op, title) in zip(panels, OPERATIONS.items()):
        rows = [row for network in (None, "size") for row in results.chosen(results.best, op=op, network=network).values()]
        limits = [row["speed"] / row["limit"] for row in rows]
        if rows:
            at = [row["bytes"] for row in rows]
            axis.scatter(at, limits, s=12, marker="_", color=COLOURS["copy"], label="the same loads and stores, no arithmetic")
            axis.scatter(at, [row["speed"] for row in rows], s=12, color=COLOURS["bnorm"], label=results.name(results.best))
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(title)
        label_bytes(axis)
    panels[0].set_ylabel("GB/s")
    return svg(figure, panels[0])


def label_bytes(axis):
    axis.set_xticks([2**10, 2**14, 2**18, 2**22, 2**26, 2**30], ["1 KB", "16 KB", "256 KB", "4 MB", "64 MB", "1 GB"])
    axis.tick_params(axis="x", labelsize=8)


def sizes(results):
    figure, panels = axes(3, 2)
    labels = {}
    for axis, (layout, op) in zip(panels, [(layout, op) for layout in ("nchw", "nhwc") for op in OPERATIONS]):
        for isa in (results.best, *PEERS, "scalar", "naive"):
            rows = sorted(results.chosen(isa, op=op, layout=layout, network="size").values(), key=lambda row: row["bytes"])
            if rows:
                labels[isa], = axis.plot([row["bytes"] for row in rows], [row["speed"] for row in rows], label=results.name(isa),
                                         color=COLOURS["bnorm" if isa == results.best else isa])
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_title(f"{OPERATIONS[op]}, {layout.upper()}")
        label_bytes(axis)
    panels[0].set_ylabel("GB/s")
    figure.legend(labels.values(), [line.get_label() for line in labels.values()], loc="lower center", ncols=len(labels), frameon=False,
                  fontsize=8, bbox_to_anchor=(0.5, -0.06))
    return svg(figure)


def accuracy(results):
    figure, panels = axes(2)
    at = {0: "normal", 1e2: "offset_1e2", 1e4: "offset_1e4", 1e6: "offset_1e6"}
    for axis, layout in zip(panels, ("nchw", "nhwc")):
        for name in ("bnorm", "onednn", "pytorch", "naive"):
            found = [float(results.context.get(f"error.{name}.{layout}.{input}", "nan")) for input in at.values()]
            bits = results.context.get(f"bits.{name}.{layout}", "one thread")
            if found[0] == found[0]:
                axis.plot([max(offset, 1) for offset in at], found, "o-", color=COLOURS[name],
                          label=f"{results.name(name)}; bits with threads: {bits}")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(layout.upper())
        axis.set_xlabel("offset of the values, whose standard deviation is 1")
        axis.legend(frameon=False, fontsize=8)
    panels[0].set_ylabel("largest error of y")
    return svg(figure)


def from_memory(results, **which):
    return lambda name, op, layout: results.mean(name, op=op, layout=layout, network="resnet50", cold=True, **which)


def pages(results):
    series = []
    for name, (isa, label, colour, _) in zip((results.best, "onednn"), [ours(results), *of_peers(results, ("onednn",))]):
        series += [(isa, f"{label}, 4 KB", colour, 1), (f"{name}-huge", f"{label}, huge", colour, 0.55)]
    return bars(results, series, results.layouts, from_memory(results), "GB/s")


def threads(results):
    counts = sorted({1, results.threads})
    series = [(count, f"{count} threads" if count > 1 else "1 thread", "bnorm", 1 - 0.4 * i) for i, count in enumerate(counts)]
    return bars(results, series, results.layouts,
                lambda count, op, layout: from_memory(results, threads=count)(results.best, op, layout), "GB/s")


def types(results):
    sizes_of = {"f32": 4, "bf16": 2, "f16": 2}
    found = [dtype for dtype in sizes_of if any(key[2] == dtype for key in results.rows)]

    def elements(dtype, op, layout):
        # Of layers that exceed the caches in each type.
        beside = [results.chosen(results.best, op=op, layout=layout, network="resnet50", dtype=other, cold=True) for other in found]
        shapes = set.intersection(*({at[3] for at in rows} for rows in beside))
        speed = geometric_mean([row["speed"] for at, row in beside[found.index(dtype)].items() if at[3] in shapes])
        return speed and speed / sizes_of[dtype] / (3 if op == "backward" else 2)
    return bars(results, [(dtype, dtype, "bnorm", 1 - 0.25 * i) for i, dtype in enumerate(found)], results.layouts, elements,
                "billion elements a second")
