# SPDX-License-Identifier: MIT
"""The JSON of bnorm-bench, as charts and documents ask it: how fast what is on which layers, and how many times as fast."""

import json
import sys

from report import OURS, PEER_NAMES, bound_of, geometric_mean, read_rows

OPERATIONS = {"infer": "inference", "train": "training", "backward": "backward"}
LAYOUTS = {"nchw": "NCHW", "nhwc": "NHWC", "nchw16c": "nChw16c", "nchw8c": "nChw8c"}
NETWORKS = {"resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2", "densenet121": "DenseNet-121",
            "efficientnet_b0": "EfficientNet-B0", "unet3d": "3-D U-Net", "audio": "ECAPA", "points": "PointNet",
            "tabular": "tabular"}


class Results:
    """The rows of a file, the best ISA of them, and what the file says of the machine."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        self.context = report["context"]
        self.rows = {key: row for key, row in read_rows(report["benchmarks"]).items() if row}
        if not self.rows:
            sys.exit(f"{path}: no row has a result")
        self.best = max((isa for *_, isa, _ in self.rows if isa in OURS), key=OURS.index, default="scalar")
        self.threads = max(int(threads[1:]) for *_, threads in self.rows)
        self.layouts = [layout for layout in LAYOUTS if any(key[1] == layout for key in self.rows)]

    def has(self, isa):
        return any(key[4] == isa for key in self.rows)

    def name(self, isa):
        """Of an ISA or a peer, with its version."""
        known = {"bnorm": "bnorm", self.best: f"bnorm, {self.best}", "naive": "textbook loop", "scalar": "portable C",
                 "copy": "copy"}
        return known.get(isa) or f"{PEER_NAMES[isa]} {self.context.get(isa, '').partition('+')[0]}"

    def chosen(self, isa, op=None, layout=None, dtype="f32", network=None, threads=None, cold=None):
        """Rows of an ISA by (op, layout, dtype, shape, threads); those of all sizes only if they are asked for."""
        threads = f"t{threads or self.threads}"
        return {(o, l, d, s, t): row for (o, l, d, s, i, t), row in self.rows.items()
                if i == isa and t == threads and d == dtype and op in (None, o) and layout in (None, l)
                and network in (None, s.split(".")[0]) and (network == "size" or not s.startswith("size."))
                and cold in (None, row["cold"])}

    def mean(self, isa, key="speed", beside=(), **which):
        """The geometric mean of a value, over the layers that all of those beside have, too; None without any."""
        others = [self.chosen(other, **which) for other in beside]
        return geometric_mean([row[key] for at, row in self.chosen(isa, **which).items() if all(at in other for other in others)])

    def ratios(self, ours, other, **which):
        """How many times as fast, layer by layer."""
        one, two = self.chosen(ours, **which), self.chosen(other, **which)
        return [one[at]["speed"] / two[at]["speed"] for at in one if at in two]

    def ratio(self, other, ours=None, **which):
        return geometric_mean(self.ratios(ours or self.best, other, **which))

    def dtype_ratio(self, dtype, **which):
        """The geometric mean of the speeds of a type over those of f32, in bytes."""
        floats = {at[3]: row["speed"] for at, row in self.chosen(self.best, **which).items()}
        return geometric_mean([row["speed"] / floats[at[3]] for at, row in self.chosen(self.best, dtype=dtype, **which).items()
                               if at[3] in floats])

    def bound(self, row, threads):
        return bound_of(row, threads, self.context)

    def headline(self):
        """All of it in a sentence; means over layouts and the layers whose tensors exceed the caches."""
        said = []
        for op, name in OPERATIONS.items():
            times = self.ratio("onednn", op=op, network="resnet50", cold=True)
            if times:
                said.append(f"{times:.2f} times as fast in {name}")
        limit = self.mean(self.best, "limit", network="resnet50", cold=True)
        if limit:
            said.append(f"{'and ' * bool(said)}at {limit:.0%} of what the machine can move")
        beside = f" beside oneDNN {self.context['onednn']}" if "onednn" in self.context else ""
        return f"On the batch norms of ResNet-50 from memory, bnorm{beside} is {', '.join(said)}."

    def machine(self):
        """Where the numbers are from."""
        peers = [self.name(peer) for peer in PEER_NAMES if peer in self.context]
        return (f"{self.context['cpu']}, {self.context['num_cpus']} CPUs, {self.context['pages']}; bnorm {self.context['bnorm_version']} at "
                f"{self.context['bnorm_commit']}, {', '.join([self.context['compiler'], *peers])}; {self.context['date'][:10]}")
