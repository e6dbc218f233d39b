#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the networks of models.py in Flax, with its own batch norm and with bnorm's, and compares what they give with what Flax
gives in float64; then measures, unless it is only to check.

usage: compare.py [--check]
"""
import itertools
import os
import statistics
import sys
import time
import zlib

import flax.linen
import jax
import jax.numpy as jnp
import numpy
from models import MODELS

import bnorm.jax.linen

LIMIT = 1e-5
ROUNDS = int(os.environ.get("BNORM_BENCH_ROUNDS", "15"))
SHAPES = [(8, 112, 112, 64), (8, 56, 56, 64), (8, 56, 56, 256), (8, 28, 28, 512), (8, 14, 14, 1024), (8, 7, 7, 2048),
          (8, 7, 7, 512), (32, 1024, 64)]


def norm(layer, fused, **options):
    """What a network of models.py calls."""
    def separate(x, activation=None, residual=None):
        y = layer(**options)(x)
        y = y if residual is None else y + residual
        return flax.linen.relu(y) if activation else y
    return (lambda x, activation=None, residual=None: layer(activation=activation, **options)(x, residual=residual)) if fused \
        else separate


WAYS = {"Flax": (flax.linen.BatchNorm, False), "bnorm": (bnorm.jax.linen.BatchNorm, False),
        "bnorm, fused": (bnorm.jax.linen.BatchNorm, True)}


def normal(shape, seed=1, offset=0.0):
    return numpy.asarray(numpy.random.default_rng(seed).standard_normal(shape) + offset, numpy.float32)


def random(model, x):
    """Variables of a model that do not enlarge rounding, as those do that let all images become nearly the same."""
    def values(path, like):
        drawn, kind = normal(like.shape, zlib.crc32(str(path).encode())), path[-1].key
        return drawn / numpy.sqrt(drawn.size / drawn.shape[-1]) if kind == "kernel" else abs(drawn) + (kind == "scale")
    return jax.tree.map_with_path(values, jax.eval_shape(model.init, jax.random.key(1), x))


def outputs(cls, variables, x, how, **options):
    """Of training, and of evaluation with the statistics of that batch."""
    train, evaluate = (cls(norm(*how, use_running_average=stored, momentum=0.0, **options)) for stored in (False, True))
    y, new = jax.jit(lambda v, x: train.apply(v, x, mutable=["batch_stats"]))(variables, x)
    return numpy.asarray(y), numpy.asarray(jax.jit(evaluate.apply)({**variables, **new}, x))


def compare():
    """The numbers of comparisons that passed and failed."""
    counts = [0, 0]
    print(f"largest error relative to the largest output, beside what Flax gives in float64; bnorm is allowed {LIMIT}")
    for name, (cls, shape) in MODELS.items():
        x = normal((8, 8, 8, 3)).repeat(8, 1).repeat(8, 2) if len(shape) == 4 else normal(shape)
        variables = random(cls(norm(*WAYS["Flax"], use_running_average=True)), x)
        with jax.enable_x64(True):
            double = jax.tree.map(lambda a: a.astype(numpy.float64), (variables, x))
            exact = outputs(cls, *double, WAYS["Flax"], dtype=numpy.float64, param_dtype=numpy.float64)
        for way, how in WAYS.items():
            errors = [abs(y - right).max() / abs(right).max() for y, right in zip(outputs(cls, variables, x, how), exact)]
            bad = way != "Flax" and not numpy.max(errors) <= LIMIT
            counts[bad] += way != "Flax"
            print(f"{name:12} {way:12} {errors[0]:.1e} in training, {errors[1]:.1e} in evaluation{', WRONG' * bad}", flush=True)
    return counts


def layer_step(layer, x, dy, activation=None, fused=False, **options):
    """y and dx of one batch norm, as a jitted function without arguments. ReLU is Flax's, unless fused."""
    channels = x.shape[options.get("axis", -1)]
    variables = {"params": {"scale": normal(channels, 2), "bias": normal(channels, 3)},
                 "batch_stats": {"mean": normal(channels), "var": normal(channels)}}
    module = layer(use_running_average=False, dtype=x.dtype, **options, **({"activation": activation} if fused else {}))

    @jax.jit
    def step(x, dy):
        def of(x):
            y, new = module.apply(variables, x, mutable=["batch_stats"])
            return flax.linen.relu(y) if activation and not fused else y, new
        y, vjp, new = jax.vjp(of, x, has_aux=True)
        return y, vjp(dy)[0], new
    return lambda: step(x, dy)


def accuracy():
    """Of the operator: largest errors of y and dx."""
    print("\n| offset | Flax | Flax, use_fast_variance=False | bnorm |\n|---|---|---|---|")
    dy, slow = normal((8, 28, 28, 64), 4), {"use_fast_variance": False}
    for offset in (0, 1e2, 1e4, 1e6):
        x = normal(dy.shape, 1, offset)
        with jax.enable_x64(True):
            exact = [numpy.asarray(a) for a in layer_step(flax.linen.BatchNorm, x.astype(float), dy.astype(float), **slow)()[:2]]
        found = [layer_step(layer, x, dy, **options)()[:2] for layer, options in (
            (flax.linen.BatchNorm, {}), (flax.linen.BatchNorm, slow), (bnorm.jax.linen.BatchNorm, {}))]
        print(f"| {offset:g} |", *(", ".join(f"{abs(a - b).max():.0e}" for a, b in zip(ours, exact)) + " |" for ours in found),
              flush=True)


def in_turns(functions, repeat=1):
    """The medians of their times, in milliseconds."""
    times = {name: [] for name in functions}
    for turn in range(ROUNDS + 1):
        for name, function in functions.items():
            jax.block_until_ready(function())
            start = time.perf_counter()
            for _ in range(repeat):
                jax.block_until_ready(function())
            times[name].append((time.perf_counter() - start) / repeat * 1e3)
    return [statistics.median(column[1:]) for column in times.values()]


def step(cls, how, variables, x):
    """A step of training, without arguments."""
    model = cls(norm(*how, use_running_average=False))

    @jax.jit
    def train(variables, x):
        def loss(params):
            y, new = model.apply({**variables, "params": params}, x, mutable=["batch_stats"])
            return jnp.mean(jax.nn.logsumexp(y, -1) - y[:, 0]), new
        (value, new), slopes = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return value, jax.tree.map(lambda p, g: p - 0.01 * g, variables["params"], slopes), new
    return lambda: train(variables, x)


def measure_operators():
    """Forward and backward of single batch norms."""
    print(f"\nJAX {jax.__version__}, Flax {flax.__version__}, {os.cpu_count()} CPUs, milliseconds: medians of {ROUNDS} turns\n")
    print("| shape | axis | type | Flax | bnorm | | with ReLU: Flax | bnorm | |\n|---|---:|---|---:|---:|---:|---:|---:|---:|")
    ratios = {}
    for dtype, axis, shape in itertools.product(("float32", "bfloat16"), (-1, 1), SHAPES):
        shape = shape if axis == -1 else (shape[0], shape[-1], *shape[1:-1])
        x, dy = (jnp.asarray(normal(shape, seed), dtype) for seed in (1, 2))
        row = f"| {'x'.join(map(str, shape))} | {axis} | {dtype} |"
        for activation in (None, "relu"):
            stock, ours = in_turns({way: layer_step(WAYS[way][0], x, dy, activation, fused=WAYS[way][1], axis=axis)
                                    for way in ("Flax", "bnorm, fused")}, max(2, 2000000 // x.size))
            ratios.setdefault((dtype, activation), []).append(stock / ours)
            row += f" {stock:.2f} | {ours:.2f} | {stock / ours:.2f} |"
        print(row, flush=True)
    for (dtype, activation), column in ratios.items():
        print(f"geometric mean of {dtype}, {activation or 'without ReLU'}: {statistics.geometric_mean(column):.2f}")


def measure_networks():
    print("\n| network | Flax | bnorm | | fused | |\n|---|---:|---:|---:|---:|---:|")
    for name, (cls, shape) in MODELS.items():
        x = normal(shape)
        variables = random(cls(norm(*WAYS["Flax"], use_running_average=True)), x)
        stock, ours, fused = in_turns({way: step(cls, how, variables, x) for way, how in WAYS.items()})
        print(f"| {name} | {stock:.0f} | {ours:.0f} | {stock / ours:.2f} | {fused:.0f} | {stock / fused:.2f} |", flush=True)


def main(*options):
    passed, failed = compare()
    if "--check" not in options:
        accuracy()
        measure_operators()
        measure_networks()
    print(f"jax: {passed} passed, {failed} failed, 0 skipped")
    return failed > 0 or passed == 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
