#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the networks of models.py in OpenCV, by itself and with bnorm in each way of docs/opencv.md, and compares what
they give with each other and with ONNX Runtime; then measures, unless it is only to check.

usage: compare.py [--check] LIBRARY DIRECTORY: bnorm-opencv; the models, and the programs
"""
import ctypes
import os
import pathlib
import statistics
import subprocess
import sys

import cv2
import numpy

LIMIT = 1e-5
ROUNDS = int(os.environ.get("BNORM_BENCH_ROUNDS", "25"))
LOADED = "import ctypes, runpy, sys; ctypes.CDLL(sys.argv[1]); del sys.argv[:2]; " \
    "runpy.run_path(sys.argv[0], run_name='__main__')"


def ways(library, directory):
    """Name: command, environment. Each writes files of that ending."""
    program = str(pathlib.Path(__file__).with_name("program.py"))
    return {
        "stock": ([directory / "program"], {}),
        "stock-python": ([sys.executable, program], {}),
        "linked": ([directory / "linked"], {"LD_LIBRARY_PATH": str(library.parent)}),
        "preloaded": ([directory / "program"], {"LD_PRELOAD": str(library)}),
        "python": ([sys.executable, "-c", LOADED, str(library), program], {}),
    }


def run(command, environment, way, models):
    """How many layers of each model other layers do the work of."""
    output = subprocess.run([*command, way, *models], env={**os.environ, **environment}, check=True,
                            stdout=subprocess.PIPE, text=True).stdout
    return [int(line.split()[0]) for line in output.splitlines()]


def error(model, way, reference):
    y, expected = (numpy.fromfile(f"{model}.{name}", numpy.float32) for name in (way, reference))
    return abs(y - expected).max() / abs(expected).max() if y.shape == expected.shape else numpy.inf


def compare(library, directory, models):
    """The numbers of comparisons that passed and failed."""
    found = {way: run(*how, way, models) for way, how in ways(library, directory).items()}
    counts = [0, 0]
    print(f"largest error relative to the largest output; {LIMIT} is allowed")
    for i, model in enumerate(models):
        for way, fused in found.items():
            references = ("onnxruntime",) if way.startswith("stock") else ("onnxruntime", "stock")
            errors = [error(model, way, reference) for reference in references]
            bad = not max(errors) <= LIMIT
            # Without bnorm, no activation becomes a part of a batch norm.
            unused = not way.startswith("stock") and fused[i] <= found["stock"][i]
            counts[bad or unused] += 1
            told = ", ".join(f"{e:.1e} to {reference}" for e, reference in zip(errors, references))
            print(f"{pathlib.Path(model).name:14} {way:13} {told}{', WRONG' * bad}{', bnorm NOT USED' * unused}")
    return counts


class Timed:
    """A network, allocated, and its times: of all layers, and of batch norms with what follows them."""

    def __init__(self, model):
        self.net = cv2.dnn.readNetFromONNX(model + ".onnx")
        self.net.setInput(cv2.dnn.readTensorFromONNX(model + ".input.pb"))
        self.net.forward()
        kinds = [self.net.getLayer(name).type for name in self.net.getLayerNames()]
        self.chosen = numpy.isin(kinds, ("BatchNorm", "ReLU"))
        self.times = []

    def run(self):
        self.net.forward()
        times = self.net.getPerfProfile()[1].ravel() / cv2.getTickFrequency() * 1e3
        self.times.append((times.sum(), times[self.chosen].sum()))

    def medians(self):
        return [statistics.median(column) for column in zip(*self.times)]


def measure(library, models):
    cv2.setNumThreads(2)
    pairs = {model: [Timed(model)] for model in models}
    ctypes.CDLL(str(library))
    print(f"\nOpenCV {cv2.__version__}, 2 threads, milliseconds: medians of {ROUNDS} runs in turns\n")
    print("| network | batch | stock | bnorm | | its BatchNorm and ReLU: stock | bnorm | |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for model, nets in pairs.items():
        nets.append(Timed(model))
        for turn in range(ROUNDS):
            for net in nets if turn % 2 else nets[::-1]:
                net.run()
        name, batch = pathlib.Path(model).name.split("-")
        (stock, stock_part), (ours, our_part) = (net.medians() for net in nets)
        print(f"| {name} | {batch} | {stock:.2f} | {ours:.2f} | {stock / ours:.2f} | {stock_part:.2f} | {our_part:.2f} "
              f"| {stock_part / our_part:.2f} |", flush=True)
    print()


def main(*arguments):
    *options, library, directory = arguments
    library, directory = pathlib.Path(library).resolve(), pathlib.Path(directory).resolve()
    models = sorted(str(path.with_suffix("")) for path in directory.glob("*.onnx"))
    passed, failed = compare(library, directory, models)
    if "--check" not in options:
        measure(library, models)
    print(f"opencv: {passed} passed, {failed} failed, 0 skipped")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
