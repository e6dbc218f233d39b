#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bnorm beside PyTorch, operation by operation: pytorch.py DIRECTORY-OF-LIBBNORM [--help]

Both run on PyTorch's own threads, in turns; each figure is a median. PyTorch allocates its outputs in each call: its
memory is kept by the allocator, so that page faults, which would take longer than batch norm, do not count.
"""
import argparse
import ctypes
import csv
import json
import os
import re
import statistics
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "tests"))
import bnorm_ctypes as b  # noqa: E402

try:
    import torch
except ImportError:
    sys.exit("this Python has no PyTorch")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
TYPES = {"f32": (torch.float32, b.F32), "bf16": (torch.bfloat16, b.BF16)}


def load(directory):
    """The library and its executor on the OpenMP that PyTorch brings: a second one's threads would be in the way."""
    with open("/proc/self/maps", encoding="ascii") as maps:
        openmp = {line.split()[-1] for line in maps if re.search(r"/lib[gi]omp", line)}
    for path in openmp:
        ctypes.CDLL(path, ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(os.path.join(directory, "libbnorm.so"), ctypes.RTLD_GLOBAL)
    executors = ctypes.CDLL(os.path.join(directory, "integrations", "libbnorm-openmp.so"))
    executors.bnorm_openmp_executor.restype = b.Executor
    executors.bnorm_openmp_executor.argtypes = [ctypes.c_size_t]
    library.bnorm_version.restype = library.bnorm_isa.restype = ctypes.c_char_p
    return library, executors.bnorm_openmp_executor(torch.get_num_threads())


class Layer:
    """One batch norm and its tensors; each method is a call of ours or of PyTorch's."""

    def __init__(self, library, executor, sizes, channels_last, dtype):
        torch_type, type_ = TYPES[dtype]
        order = torch.channels_last if channels_last else torch.contiguous_format
        batch, channels, points = sizes
        side = int(points ** 0.5)
        height = side if side * side == points else 1
        make = lambda: torch.randn(batch, channels, height, points // height).to(torch_type).contiguous(memory_format=order)
        self.library, self.executor = library, ctypes.byref(executor)
        self.x, self.dy = make(), make()
        self.y = torch.empty_like(self.x)
        self.gamma, self.beta = torch.rand(channels) + 0.5, torch.randn(channels)
        self.mean, self.var = torch.zeros(channels), torch.ones(channels)
        self.saved = [torch.empty(channels) for _ in range(3)]
        self.gradients = [torch.empty(channels) for _ in range(2)]
        layout = b.Layout(type_, 0, 0, 0)
        self.shape = b.Shape(ctypes.sizeof(b.Shape), batch, channels, points, channels if channels_last else 1, layout, layout)
        self.train_memory = b.workspace(library, self.shape, b.TRAIN, self.executor)
        self.backward_memory = b.workspace(library, self.shape, b.BACKWARD, self.executor)
        at = lambda tensor: tensor.data_ptr()
        parameters = at(self.gamma), at(self.beta)
        self.epilogue = b.Epilogue(ctypes.sizeof(b.Epilogue), 1, 0, 0, None, None)  # ReLU
        self.infer_params = b.InferParams(ctypes.sizeof(b.InferParams), at(self.mean), at(self.var), *parameters, 1e-5)
        self.train_params = b.TrainParams(ctypes.sizeof(b.TrainParams), *parameters, 1e-5, 0.1, 0, at(self.mean),
                                          at(self.var), *map(at, self.saved))
        self.backward_params = b.BackwardParams(ctypes.sizeof(b.BackwardParams), 0, None, *parameters, *map(at, self.saved),
                                                None, 0, 0, *map(at, self.gradients))

    def fuse(self, fused):
        epilogue = ctypes.addressof(self.epilogue) if fused else None
        for params in (self.infer_params, self.train_params, self.backward_params):
            params.epilogue = epilogue

    def ours(self, operation):
        x, dy, y = (b.pointer(t.data_ptr()) for t in (self.x, self.dy, self.y))
        shape, library = ctypes.byref(self.shape), self.library
        if operation == "infer":
            b.call(library.bnorm_infer, shape, ctypes.byref(self.infer_params), x, y, self.executor)
        elif operation == "train":
            b.call(library.bnorm_train, shape, ctypes.byref(self.train_params), x, y, *self.train_memory, self.executor)
        else:
            b.call(library.bnorm_backward, shape, ctypes.byref(self.backward_params), x, dy, y, *self.backward_memory,
                   self.executor)

    def theirs(self, operation, fused):
        parameters = self.gamma, self.beta, self.mean, self.var
        if operation != "backward":
            y, *self.kept = torch.native_batch_norm(self.x, *parameters, operation == "train", 0.1, 1e-5)
            self.kept_y = torch.relu_(y) if fused else y
            return
        dy = torch.ops.aten.threshold_backward(self.dy, self.kept_y, 0) if fused else self.dy
        torch.ops.aten.native_batch_norm_backward(dy, self.x, self.gamma, self.mean, self.var, *self.kept, True, 1e-5,
                                                  [True, True, True])


def sample(call):
    """Seconds of a call: of as many as take three milliseconds, after one that does not count."""
    call()
    calls, start = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - start < 3e-3:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def compare(layer, operation, fused, rounds):
    """Medians of ours and of PyTorch's, which take turns."""
    layer.fuse(fused)
    if operation == "backward":  # what the forward pass keeps
        layer.ours("train")
        layer.theirs("train", fused)
    samples = [], []
    for _ in range(rounds):
        samples[0].append(sample(lambda: layer.ours(operation)))
        samples[1].append(sample(lambda: layer.theirs(operation, fused)))
    return [statistics.median(s) for s in samples]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="where bnorm was built")
    parser.add_argument("--layers", default=r"resnet50\.[a-z0-9]+$", metavar="REGEX", help="of shapes.csv, as set.name")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--types", nargs="+", choices=TYPES, default=list(TYPES))
    parser.add_argument("--json", metavar="FILE", help="write the ratios for './run chart'")
    arguments = parser.parse_args()
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 30)
    ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 1 << 30)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)
    library, executor = load(arguments.directory)
    with open(os.path.join(here, "shapes.csv"), encoding="ascii") as file:
        layers = {f"{row['set']}.{row['name']}": (arguments.batch, int(row["channels"]), int(row["points"]))
                  for row in csv.DictReader(file)}
    print(f"bnorm {library.bnorm_version().decode()} ({library.bnorm_isa().decode()}), PyTorch {torch.__version__}, "
          f"{arguments.threads} threads, batch {arguments.batch}, medians of {arguments.rounds} rounds in turns\n")
    print("microseconds of PyTorch / of bnorm = how many times as fast\n")
    ratios, results = {}, []
    for name, sizes in layers.items():
        if not re.search(arguments.layers, name):
            continue
        for dtype in arguments.types:
            for channels_last in (False, True):
                layer = Layer(library, executor, sizes, channels_last, dtype)
                for operation in ("infer", "train", "backward"):
                    for fused in (False, True):
                        ours, theirs = compare(layer, operation, fused, arguments.rounds)
                        results.append({"op": operation, "relu": fused, "layout": "nhwc" if channels_last else "nchw",
                                        "dtype": dtype, "layer": name, "batch": arguments.batch, "times": theirs / ours})
                        key = f"{operation}{'+relu' if fused else ''} {'nhwc' if channels_last else 'nchw'} {dtype}"
                        ratios.setdefault(key, []).append(theirs / ours)
                        print(f"{name:26} {key:24} {theirs * 1e6:9.1f} / {ours * 1e6:9.1f} = {theirs / ours:5.2f}", flush=True)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"pytorch": torch.__version__, "threads": arguments.threads, "results": results}, file, indent=1)
    print("\n| | layers | geometric mean | least |\n| --- | ---: | ---: | ---: |")
    for key, values in ratios.items():
        print(f"| {key} | {len(values)} | {statistics.geometric_mean(values):.2f} | {min(values):.2f} |")


if __name__ == "__main__":
    main()
