#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes one page of the JSON of bnorm-bench, which needs nothing else and no network: page.py BENCH.json PAGE.html"""

import html
import pathlib
import re
import sys

import charts
from report import PEER_NAMES
from measurements import Results

SECTIONS = [  # title, chart, what it shows, and the ISA or peer without which there is none
    ("In short", charts.throughput, "Layers of ResNet-50 whose tensors exceed the caches, f32, all threads, geometric means. For "
     "backward the copy makes one tensor of two.", None),
    ("By network", charts.networks, "f32, all threads; geometric means over layers and layouts. Above 1, bnorm is faster.", None),
    ("As their users call them", charts.as_called, "The same layers as at first. The others in Python: with their memory there "
     "before, as bnorm has it, and as they are usually called, when each call allocates its output.", "pytorch-call"),
    ("The same ISA for all", charts.same_isa, "All layers of ResNet-50 that were measured so; everybody held to AVX2.", "avx2"),
    ("Against the limit", charts.roofline, "Each layer of the networks and each size, all layouts, f32, all threads. The limit is the "
     "best loop with the same loads and stores and no arithmetic, measured in the same minute.", None),
    ("From 1 KB to 1 GB", charts.sizes, "f32, all threads; the sizes are of all tensors of a call together.", None),
    ("Accuracy", charts.accuracy, "The largest error of training's y, of 8 x 64 x 784 values, against double.", None),
    ("Pages", charts.pages, "Layers of ResNet-50 whose tensors exceed the caches, in pages of 4 KB, as malloc gives them and as all "
     "other rows have them, and in huge ones.", "huge"),
    ("Threads", charts.threads, "The same layers, in 4 KB pages.", None),
    ("Types", charts.types, "The same, in elements, as 16-bit types move half of the bytes.", None),
]


def table_of(columns, lines, text_columns):
    """Lines of cells, the first columns to the left; columns that can be sorted by are buttons."""
    def row(cells, tag, inside="{}"):
        return "<tr>" + "".join(f"<{tag}{' class=text' * (i < text_columns)}>{inside.format(html.escape(cell))}</{tag}>"
                                for i, cell in enumerate(cells)) + "</tr>"
    head = row(columns, "th", "<button>{}</button>")
    return f"<table><thead>{head}</thead><tbody>\n" + "\n".join(row(line, "td") for line in lines) + "\n</tbody></table>"


def rows(results):
    columns = ["operation", "layout", "type", "shape", "by", "threads", "N x C x points", "GB/s", "/ oneDNN", "bound by", "of it",
               "copy", "read", "write", "spread"]
    lines = []
    for (op, layout, dtype, shape, isa, threads), row in results.rows.items():
        peer = results.rows.get((op, layout, dtype, shape, "onednn", threads))
        bound, reached = results.bound(row, int(threads[1:]))
        lines.append([op, layout, dtype, shape, isa, threads[1:], row["dimensions"], f"{row['speed']:.1f}",
                      f"{row['speed'] / peer['speed']:.2f}" if peer else "", bound, f"{reached:.2f}",
                      f"{row['speed'] / row['copy']:.1f}", f"{row['read'] / 1e9:.1f}", f"{row['write'] / 1e9:.1f}",
                      f"{row['spread']:.2f}"])
    return table_of(columns, lines, 5)


def errors(results):
    """By class of input, the largest of both layouts."""
    names = [name for name in ("bnorm", *PEER_NAMES, "naive") if f"error.{name}.nchw.normal" in results.context]
    inputs = [key.split(".")[3] for key in results.context if key.startswith("error.bnorm.nchw.")]
    lines = [[input.replace("_", " "), *(f"{max(float(results.context[f'error.{name}.{layout}.{input}']) for layout in ('nchw', 'nhwc')):.1e}"
                                         for name in names)] for input in inputs]
    return ('<details><summary>Every class of input</summary><p class=soft>Errors relative to values above 1; inf: a NaN or Inf that '
            f'should be a number.</p><div class=wide>{table_of(["input", *map(results.name, names)], lines, 1)}</div></details>')


def main():
    source, page = map(pathlib.Path, sys.argv[1:])
    results = Results(source)
    parts = [f"<h1>{html.escape(results.headline())}</h1>",
             f"<p class=soft>{html.escape(results.machine())}. GB/s count each tensor once, read or written.</p>"]
    for i, (title, draw, words, needs) in enumerate(SECTIONS):
        if needs and not any(key[4].endswith(needs) for key in results.rows):
            continue
        # Names of elements must differ from those of other figures.
        figure = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>s{i}-", draw(results))
        parts.append(f"<h2>{title}</h2>\n<p class=soft>{words}</p>\n<div class=chart>{figure}</div>")
        if title == "Accuracy":
            parts.append(errors(results))
    parts.append('<h2>All rows</h2>\n<p><input id=filter type=search placeholder="Filter: words that a row has; -word: has not" '
                 f'aria-label="Filter"> <span id=count class=soft></span></p>\n<div id=rows class=wide>{rows(results)}</div>')
    parts.append("<h2>How it was measured</h2>\n<p>Rows that are compared take turns, and each is the median of "
                 f"{results.context['rounds']} rounds. Each result was checked against a reference in double before it was timed. "
                 "bound by: the call, where an empty one takes more than half of the time; else the smallest cache that holds the tensors "
                 "of a call, or memory. of it: the fraction of that bound, which is the best loop with the same loads and stores. copy, "
                 "read, write: GB/s of the best copy of that size (backward: of the best loop that makes one tensor of two), of reading "
                 "and of writing one tensor. spread: from the first quartile of the rounds to the third, as a fraction of the median. "
                 "-avx2: held to AVX2; -huge: in huge pages; -inplace: from y to y, as ncnn works; -call: as its users call it.</p>\n"
                 f"<pre>bnorm-bench {html.escape(results.context['arguments'])}</pre>")
    template = pathlib.Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    page.write_text(template.replace("<!--body-->", "\n".join(parts)), encoding="utf-8")
    print(results.headline())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
