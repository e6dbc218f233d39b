# SPDX-License-Identifier: MIT
"""The package against definitions in float64: values, gradients, layouts, strides, steps, threads, and what is refused."""

import re

import bnorm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

EPSILON = 1e-5
LAYOUTS = ["NCHW", "NHWC", "NC", "NCL", "NLC", "NCDHW", "NDHWC"]
random = np.random.default_rng(1)


def tensor(layout, channels=5, offset=0.0, dtype="float32"):
    sizes = {"N": 3, "C": channels, "H": 4, "W": 7, "L": 9, "D": 2}
    return (random.standard_normal([sizes[letter] for letter in layout]) + offset).astype(dtype)


def parameters(channels):
    return (random.random(channels) + 0.5).astype("f4"), random.standard_normal(channels).astype("f4")


def along(layout, values):
    return np.asarray(values, "f8").reshape([-1 if letter == "C" else 1 for letter in layout])


def others(layout):
    return tuple(i for i, letter in enumerate(layout) if letter != "C")


def normalised(layout, x):
    x = x.astype("f8")
    mean, var = x.mean(others(layout), keepdims=True), x.var(others(layout), keepdims=True)
    return (x - mean) / np.sqrt(var + EPSILON), mean, var


def near(value, exact, bound=3e-6):
    np.testing.assert_array_less(abs(value.astype("f8") - exact), bound * np.maximum(1, abs(exact)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("offset", [0, 1e4, 1e6])
def test_train(layout, offset):
    x = tensor(layout, offset=offset)
    gamma, beta = parameters(5)
    running_mean, running_var = np.zeros(5, "f4"), np.ones(5, "f4")
    y, saved = bnorm.train(x, gamma, beta, layout=layout, running_mean=running_mean, running_var=running_var)
    h, mean, var = normalised(layout, x)
    near(y, h * along(layout, gamma) + along(layout, beta))
    near(saved.mean.astype("f8") + saved.mean_low, mean.reshape(-1), 1e-6)
    near(running_mean, 0.1 * mean.reshape(-1))
    count = x.size // 5
    near(running_var, 0.9 + 0.1 * var.reshape(-1) * count / (count - 1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_infer(layout):
    x, (gamma, beta), (var, mean) = tensor(layout), parameters(5), parameters(5)
    exact = (x - along(layout, mean)) / np.sqrt(along(layout, var) + EPSILON) * along(layout, gamma) + along(layout, beta)
    near(bnorm.infer(x, mean, var, gamma, beta, layout=layout), exact)
    near(bnorm.infer(x, mean, var, gamma, beta, layout=layout, activation="relu6"), np.clip(exact, 0, 6))
    assert bnorm.infer(x, mean, var, gamma, beta, layout=layout, out=x) is x
    near(x, exact)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu", ("leaky_relu", 0.1)])
def test_backward(layout, activation):
    x, dy, (gamma, beta) = tensor(layout, offset=100), tensor(layout), parameters(5)
    y, saved = bnorm.train(x, gamma, beta, layout=layout, activation=activation)
    got = bnorm.backward(dy, x, saved, gamma, beta, layout=layout, activation=activation)
    h, _, var = normalised(layout, x)
    dz = dy.astype("f8")
    if activation:
        dz = np.where(y > 0, dz, dz * (0 if activation == "relu" else 0.1))
    axes = others(layout)
    dbeta, dgamma = dz.sum(axes, keepdims=True), (dz * h).sum(axes, keepdims=True)
    count = x.size // 5
    near(got.dbeta, dbeta.reshape(-1), 1e-5)
    near(got.dgamma, dgamma.reshape(-1), 1e-5)
    near(got.dx, along(layout, gamma) / np.sqrt(var + EPSILON) * (dz - dbeta / count - h * dgamma / count), 1e-5)
    assert got.dresidual is None


def test_frozen_gradients():
    x, dy, (gamma, beta), (var, mean) = tensor("NCHW"), tensor("NCHW"), parameters(5), parameters(5)
    got = bnorm.backward(dy, x, None, gamma, beta, frozen=(mean, var), wanted="x")
    near(got.dx, dy * along("NCHW", gamma) / np.sqrt(along("NCHW", var) + EPSILON))
    assert got.dgamma is None and got.dbeta is None


def test_residual_and_mask():
    x, dy, residual, (gamma, beta) = tensor("NCHW"), tensor("NCHW"), tensor("NCHW"), parameters(5)
    mask = np.zeros(bnorm.mask_size(x), np.uint8)
    y, saved = bnorm.train(x, gamma, beta, activation="relu", residual=residual, mask=mask)
    near(y, np.maximum(normalised("NCHW", x)[0] * along("NCHW", gamma) + along("NCHW", beta) + residual, 0))
    with_mask = bnorm.backward(dy, x, saved, gamma, beta, activation="relu", mask=mask, wanted="x residual")
    with_residual = bnorm.backward(dy, x, saved, gamma, beta, activation="relu", residual=residual, wanted="x residual")
    np.testing.assert_array_equal(with_mask.dx, with_residual.dx)
    np.testing.assert_array_equal(with_mask.dresidual, np.where(y > 0, dy, 0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_types(dtype):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x = tensor("NHWC", dtype=dtype)
    y, _ = bnorm.train(x, layout="NHWC")
    assert y.dtype == dtype
    exact, _ = bnorm.train(x.astype("f4"), layout="NHWC")
    np.testing.assert_array_equal(y, exact.astype(dtype))


def test_blocks():
    x = tensor("NCHW", channels=20)
    padded = np.concatenate([x, np.full((3, 12, 4, 7), np.nan, "f4")], 1)
    blocked = np.ascontiguousarray(padded.reshape(3, 2, 16, 4, 7).transpose(0, 1, 3, 4, 2))
    y, saved = bnorm.train(blocked, layout="NCHW16c", channels=20)
    assert saved.mean.size == 20
    near(y.transpose(0, 1, 4, 2, 3).reshape(3, 32, 4, 7)[:, :20], normalised("NCHW", x)[0])
    assert not y.transpose(0, 1, 4, 2, 3).reshape(3, 32, 4, 7)[:, 20:].any()


def test_fold():
    x, weights, bias = random.standard_normal((4, 6)), tensor("NC", 6), parameters(3)[1]
    (gamma, beta), (var, mean) = parameters(3), parameters(3)
    folded, folded_bias = bnorm.fold(weights, bias, mean, var, gamma, beta, layout="CN")
    exact = (x @ weights.T.astype("f8") + bias - mean) / np.sqrt(var.astype("f8") + EPSILON) * gamma + beta
    np.testing.assert_allclose(x @ folded.T.astype("f8") + folded_bias, exact, atol=1e-5)


def test_steps_give_the_bits_of_one_call():
    x, dy, (gamma, beta) = tensor("NCHW", offset=50), tensor("NCHW"), parameters(5)
    y, saved = bnorm.train(x, gamma, beta)
    count, mean, m2 = bnorm.train_collect(x)
    finished = bnorm.train_finish(count, mean, m2)
    for whole, step in zip(saved, finished):
        np.testing.assert_array_equal(whole, step)
    np.testing.assert_array_equal(bnorm.train_apply(x, finished, gamma, beta), y)
    sums = bnorm.backward_reduce(dy, x, saved, gamma, beta)
    near(bnorm.backward_apply(dy, x, saved, count, sums, gamma, beta).dx, bnorm.backward(dy, x, saved, gamma, beta).dx)


def test_parts_of_a_batch():
    x = tensor("NCHW", offset=1e4)
    count, mean, m2 = bnorm.train_collect(x[:1])
    count = bnorm.train_merge(count, mean, m2, *bnorm.train_collect(x[1:]))
    assert count == 3 * 28
    y = bnorm.train_apply(x, bnorm.train_finish(count, mean, m2))
    near(y, normalised("NCHW", x)[0])


def test_threads_change_no_bit():
    x, dy = tensor("NCHW", 64), tensor("NCHW", 64)
    x, dy = np.tile(x, (8, 1, 4, 4)), np.tile(dy, (8, 1, 4, 4))
    results = []
    for threads in (1, 2, 4):
        bnorm.set_num_threads(threads)
        y, saved = bnorm.train(x)
        results.append((y, *saved, *bnorm.backward(dy, x, saved)[:3]))
    bnorm.set_num_threads(1)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


def test_isas_give_the_same_bits():
    x = tensor("NHWC", 33)
    results = []
    for name in bnorm.isas():
        bnorm.set_isa(name)
        assert bnorm.isa() == name
        results.append(bnorm.train(x, layout="NHWC")[0])
    bnorm.set_isa(None)
    assert bnorm.isa() == bnorm.isas()[0]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@settings(max_examples=200, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 5)] * 4), steps=st.tuples(*[st.integers(1, 3)] * 4), layout=st.permutations("NCHW"),
       order=st.permutations(range(4)))
def test_strides(sizes, steps, layout, order):
    """Every slice of every order of axes: it is taken, with the values of a copy, or refused by name."""
    layout = "".join(layout)
    if np.prod([size for size, letter in zip(sizes, layout) if letter != "C"]) == 1:
        return
    whole = random.standard_normal([size * step for size, step in zip(sizes, steps)]).astype("f4")
    whole = np.ascontiguousarray(whole.transpose(order)).transpose(np.argsort(order))
    x = whole[tuple(slice(None, None, step) for step in steps)]
    try:
        y, _ = bnorm.train(x, layout=layout)
    except ValueError as error:
        assert re.match("(x|out|strides): ", str(error))
        return
    near(y, normalised(layout, x)[0])
    before = whole.copy()
    bnorm.train(x, layout=layout, out=x)
    near(x, y.astype("f8"), 1e-5)
    before[tuple(slice(None, None, step) for step in steps)] = x
    np.testing.assert_array_equal(whole, before)


def test_empty():
    y, saved = bnorm.train(np.zeros((0, 5, 4, 7), "f4"))
    assert y.shape == (0, 5, 4, 7) and saved.mean.size == 5


@pytest.mark.parametrize("argument, call", [
    ("epsilon", lambda x, m, v: bnorm.infer(x, m, v, epsilon=-1)),
    ("momentum", lambda x, m, v: bnorm.train(x, running_mean=m, running_var=v, momentum=2)),
    ("gamma", lambda x, m, v: bnorm.infer(x, m, v, np.ones(4, "f4"))),
    ("mean", lambda x, m, v: bnorm.infer(x, m.astype("f8"), v)),
    ("layout", lambda x, m, v: bnorm.infer(x, m, v, layout="NHW")),
    ("layout", lambda x, m, v: bnorm.infer(x, m, v, layout="NC")),
    ("activation", lambda x, m, v: bnorm.infer(x, m, v, activation="swash")),
    ("activation", lambda x, m, v: bnorm.infer(x, m, v, activation=("clamp", 6, 0))),
    ("hint", lambda x, m, v: bnorm.infer(x, m, v, hint="soon")),
    ("out", lambda x, m, v: bnorm.infer(x, m, v, out=x[:, :, :, :6])),
    ("out", lambda x, m, v: bnorm.infer(x[:, :, 1:], m, v, out=x[:, :, :-1])),
    ("x", lambda x, m, v: bnorm.infer(x.astype("f8"), m, v)),
    ("x", lambda x, m, v: bnorm.infer(x[::-1], m, v)),
    ("x", lambda x, m, v: bnorm.infer(np.broadcast_to(x[:1], x.shape), m, v)),
    ("x", lambda x, m, v: bnorm.train(x[:1, :, :1, :1])),
    ("residual", lambda x, m, v: bnorm.infer(x, m, v, residual=x[:1])),
    ("mask", lambda x, m, v: bnorm.infer(x, m, v, activation="relu", mask=np.zeros(3, np.uint8))),
    ("saved", lambda x, m, v: bnorm.backward(x, x)),
    ("wanted", lambda x, m, v: bnorm.backward(x, x, frozen=(m, v), wanted="everything")),
    ("channels", lambda x, m, v: bnorm.train(x, channels=4)),
    ("name", lambda x, m, v: bnorm.set_isa("abacus")),
])
def test_refused(argument, call):
    x, mean, var = tensor("NCHW"), np.zeros(5, "f4"), np.ones(5, "f4")
    copies = x.copy(), mean.copy(), var.copy()
    with pytest.raises((ValueError, TypeError), match=f"^{argument}"):
        call(x, mean, var)
    for now, before in zip((x, mean, var), copies):
        np.testing.assert_array_equal(now, before)


def test_read_only():
    x = tensor("NCHW")
    x.flags.writeable = False
    with pytest.raises(ValueError, match="^out: read-only"):
        bnorm.train(x, out=x)
