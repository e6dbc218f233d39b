# SPDX-License-Identifier: MIT
"""bnorm.jax against JAX in float64, and against the library's own bits."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

jax = pytest.importorskip("jax")

import bnorm  # noqa: E402
import bnorm.jax  # noqa: E402
import jax.experimental  # noqa: E402
import jax.numpy as jnp  # noqa: E402

enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64  # before JAX 0.8

SHAPES = {2: (8, 6), 3: (4, 5, 6), 4: (4, 5, 3, 6), 5: (2, 3, 2, 5, 6)}
ACTIVATIONS = {
    None: lambda z: z,
    "relu": lambda z: jnp.maximum(z, 0),
    ("clamp", -0.5, 0.75): lambda z: jnp.clip(z, -0.5, 0.75),
    ("leaky_relu", 0.1): lambda z: jnp.where(z > 0, z, 0.1 * z),
    ("hard_sigmoid", 0.2, 0.5): lambda z: jnp.clip(0.2 * z + 0.5, 0, 1),
    "hard_swish": lambda z: z * jnp.clip(z + 3, 0, 6) / 6,
    "sigmoid": lambda z: 1 / (1 + jnp.exp(-z)),
    "silu": lambda z: z / (1 + jnp.exp(-z)),
    "tanh": jnp.tanh,
    "gelu": lambda z: z / 2 * (1 + jax.scipy.special.erf(z / np.sqrt(2))),
    "gelu_tanh": lambda z: z / 2 * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))),
    ("elu", 0.7): lambda z: jnp.where(z > 0, z, 0.7 * (jnp.exp(jnp.minimum(z, 0)) - 1)),
    "softplus": lambda z: jnp.log(1 + jnp.exp(z)),
    "mish": lambda z: z * jnp.tanh(jnp.log(1 + jnp.exp(z))),
}


def arrays(shape, channels, offset=0.0, dtype=np.float32, seed=1):
    """x, gamma, beta, a residual, and what gradients begin with."""
    random = np.random.default_rng(seed)
    x, residual, dy = (random.standard_normal(shape) for _ in range(3))
    return ((x + offset).astype(dtype), random.uniform(0.5, 1.5, channels).astype(np.float32),
            random.standard_normal(channels).astype(np.float32), residual.astype(dtype), dy.astype(dtype))


def plain(x, gamma, beta, residual=None, statistics=None, axis=-1, epsilon=1e-5, activation=None):
    """The same in the types of its arguments."""
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    mean, var = (x.mean(others), x.var(others)) if statistics is None else statistics
    z = (x - jnp.expand_dims(mean, others)) / jnp.sqrt(jnp.expand_dims(var, others) + epsilon)
    z = z * jnp.expand_dims(gamma, others) + jnp.expand_dims(beta, others)
    return ACTIVATIONS[activation](z if residual is None else z + residual), mean, var


def in_double(function, *given):
    """What a function gives for the same values in float64."""
    with enable_x64(True):
        results = function(*jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), given))
        return jax.tree.map(np.asarray, results)


def close(ours, exact, bound=2e-6):
    """Within a bound, relative to the largest value."""
    assert jax.tree.structure(ours) == jax.tree.structure(exact)
    for value, right in zip(jax.tree.leaves(ours), jax.tree.leaves(exact)):
        assert value.shape == right.shape
        error = np.abs(np.asarray(value, np.float64) - right).max(initial=0)
        assert error <= bound * max(1, np.abs(right).max(initial=0))


@pytest.mark.parametrize("offset", [0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("rank, axis", [(2, -1), (3, 1), (3, -1), (4, 1), (4, 3), (4, 0), (5, 1), (5, 2), (5, -1)])
def test_train(rank, axis, offset):
    x, gamma, beta, _, dy = arrays(SHAPES[rank], SHAPES[rank][axis], offset)

    def gradients(function, x, gamma, beta, dy):
        (y, *statistics), vjp = jax.vjp(lambda *a: function(*a, axis=axis), x, gamma, beta)
        return y, statistics, vjp((dy, *map(jnp.zeros_like, statistics)))
    y, (mean, var), found = gradients(bnorm.jax.train, x, gamma, beta, dy)
    exact, (exact_mean, exact_var), right = in_double(lambda *a: gradients(plain, *a), x, gamma, beta, dy)
    close((y, found), (exact, right), 4e-6)
    np.testing.assert_allclose(mean, exact_mean, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(var, exact_var, rtol=1e-6)


@pytest.mark.parametrize("layout, axis", [("NCHW", 1), ("NHWC", 3)])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_bits_are_those_of_the_library(layout, axis, dtype):
    shape = (3, 33, 7, 5) if axis == 1 else (3, 7, 5, 33)
    x, gamma, beta, residual, dy = arrays(shape, 33, 3.0, jnp.dtype(dtype))
    for activation in (None, "relu"):
        (y, mean, var), vjp = jax.vjp(lambda *a: bnorm.jax.train(*a, axis=axis, activation=activation), x, gamma, beta)
        gradients = vjp((dy, jnp.zeros(33), jnp.zeros(33)))
        right, saved = bnorm.train(x, gamma, beta, layout=layout, activation=activation)
        np.testing.assert_array_equal(y, right)
        np.testing.assert_array_equal(mean, saved.mean)
        if activation is None:
            for ours, exact in zip(gradients, bnorm.backward(dy, x, saved, gamma, beta, layout=layout)):
                np.testing.assert_array_equal(ours, exact)
    np.testing.assert_array_equal(
        bnorm.jax.infer(x, beta, gamma, gamma, beta, axis=axis, residual=residual, activation="relu"),
        bnorm.infer(x, beta, gamma, gamma, beta, layout=layout, residual=residual, activation="relu"))


@pytest.mark.parametrize("activation", list(ACTIVATIONS), ids=str)
@pytest.mark.parametrize("with_residual", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_activations(activation, with_residual, training):
    x, gamma, beta, residual, dy = arrays((4, 5, 3, 6), 6)
    mean, var = beta / 2, gamma + 0.5

    def ours(x, gamma, beta, mean, var, residual):
        how = dict(activation=activation, residual=residual if with_residual else None)
        return bnorm.jax.train(x, gamma, beta, **how)[0] if training else bnorm.jax.infer(x, mean, var, gamma, beta, **how)

    def right(x, gamma, beta, mean, var, residual):
        return plain(x, gamma, beta, residual if with_residual else None, None if training else (mean, var),
                     activation=activation)[0]

    def gradients(function, dy, *given):
        y, vjp = jax.vjp(function, *given)
        return y, vjp(dy)
    given = dy, x, gamma, beta, mean, var, residual
    close(jax.jit(lambda *a: gradients(ours, *a))(*given), in_double(lambda *a: gradients(right, *a), *given), 4e-6)


@pytest.mark.parametrize("activation, with_residual", [(None, False), ("tanh", False), ("relu", True)])
def test_gradients_of_statistics_and_of_gradients(activation, with_residual):
    x, gamma, beta, residual, dy = arrays((6, 3, 5), 5, 0.5)
    residual = residual if with_residual else None

    def loss(function):
        def of(x, gamma, beta, dy):
            y, mean, var = function(x, gamma, beta, residual=residual, activation=activation)
            return jnp.sum(y * dy) + jnp.sum(jnp.sin(mean)) + jnp.sum(jnp.cos(var))
        return of

    def first(function):
        return jax.grad(loss(function), (0, 1, 2, 3))

    def second(function):
        return jax.grad(lambda *a: sum(jnp.sum(jnp.sin(g)) for g in first(function)(*a)), (0, 1, 2, 3))
    given = x, gamma, beta, dy
    close(first(bnorm.jax.train)(*given), in_double(first(plain), *given))
    close(second(bnorm.jax.train)(*given), in_double(second(plain), *given), 2e-5)


def test_vmap_gives_what_single_calls_give():
    x, gamma, beta, _, dy = arrays((3, 4, 5, 6), 6)

    def gradients(x, gamma, dy):
        y, vjp = jax.vjp(lambda *a: bnorm.jax.train(*a, activation="relu")[0], x, gamma, beta)
        return y, vjp(dy)
    for many in (jax.vmap(gradients, (0, None, 0)), jax.jit(jax.vmap(gradients, (0, None, 0)))):
        ours = many(x, gamma, dy)
        for i in range(3):
            jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda a: a[i], ours), gradients(x[i], gamma, dy[i]))
    jacobian = jax.jacrev(lambda x: bnorm.jax.train(x, gamma, beta)[0])(x[0, 0])
    close(jacobian, in_double(jax.jacrev(lambda x: plain(x, gamma.astype(float), beta.astype(float))[0]), x[0, 0]))


def test_transformations():
    x, gamma, beta, _, _ = arrays((4, 5, 6), 6)

    def loss(x, wrap=lambda f: f):
        return jnp.sum(wrap(lambda x: bnorm.jax.train(x, gamma, beta, activation="relu")[0])(x) ** 3)
    right = jax.grad(loss)(x)
    np.testing.assert_array_equal(jax.grad(lambda x: loss(x, jax.checkpoint))(x), right)
    np.testing.assert_array_equal(jax.jit(jax.grad(loss), donate_argnums=0)(jnp.array(x)), right)
    _, stacked = jax.lax.scan(lambda carry, _: (carry, jax.grad(loss)(carry)), jnp.asarray(x), length=2)
    np.testing.assert_array_equal(stacked[1], right)


@pytest.mark.parametrize("x_type, y_type", [("bfloat16", "float32"), ("float32", "bfloat16"), ("float16", None)])
def test_types_of_results(x_type, y_type):
    x, gamma, beta, _, dy = arrays((8, 4, 6), 6, 2.0, jnp.dtype(x_type))
    y, vjp = jax.vjp(lambda *a: bnorm.jax.train(*a, dtype=y_type)[0], x, gamma, beta)
    assert y.dtype == jnp.dtype(y_type or x_type)
    gradients = vjp(dy.astype(y.dtype))
    assert [g.dtype.name for g in gradients] == [x_type, "float32", "float32"]
    exact, right = in_double(lambda dy, *a: (lambda y, vjp: (y, vjp(dy)))(*jax.vjp(lambda *a: plain(*a)[0], *a)),
                             dy.astype(y.dtype), x, gamma, beta)
    close((y, gradients), (exact, right), 1e-2)
    assert bnorm.jax.train(x, gamma.astype(jnp.bfloat16), beta.astype(jnp.float16))[0].dtype == x.dtype


def test_double_runs_in_jax():
    x, gamma, beta, _, _ = arrays((8, 6), 6, 1e3, np.float64)
    with enable_x64(True):
        y, mean, _ = bnorm.jax.train(x, gamma.astype(float), beta.astype(float))
        assert y.dtype == mean.dtype == np.float64
        np.testing.assert_allclose(y, plain(x, gamma.astype(float), beta.astype(float))[0], rtol=1e-10)
        assert jnp.isfinite(jax.grad(lambda x: bnorm.jax.train(x)[0].sum())(x)).all()


def test_other_platforms_get_operations_of_jax():
    x, gamma, beta, _, _ = arrays((8, 6), 6)
    step = jax.jit(jax.value_and_grad(lambda x: jnp.sum(bnorm.jax.train(x, gamma, beta)[0] ** 3)))
    text = step.trace(x).lower(lowering_platforms=("cpu", "cuda")).as_text()
    assert "bnorm_train" in text and "bnorm_backward" in text and "stablehlo.case" in text
    assert "bnorm_" not in step.trace(x).lower(lowering_platforms=("tpu",)).as_text()


@pytest.mark.parametrize("with_residual", [False, True])
def test_those_operations(monkeypatch, with_residual):
    x, gamma, beta, residual, dy = arrays((8, 4, 6), 6)
    residual = residual if with_residual else None

    def gradients(function, *given):
        (y, *statistics), vjp = jax.vjp(lambda *a: function(*a, residual=residual, activation="relu"), *given)
        return y, statistics, vjp((dy, *map(jnp.zeros_like, statistics)))
    right = gradients(bnorm.jax.train, x, gamma, beta)
    jax.clear_caches()
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arrays, cpu, default: default(*arrays))
    close(gradients(bnorm.jax.train, x, gamma, beta), jax.tree.map(np.asarray, right))
    jax.clear_caches()


@pytest.mark.parametrize("shape", [(0, 6), (4, 0), (1, 6), (1, 1), (6,)])
def test_small_shapes(shape):
    x = jnp.ones(shape)
    y, mean, var = bnorm.jax.train(x)
    assert y.shape == shape and mean.shape == var.shape == shape[-1:]
    assert bnorm.jax.infer(x, mean, var).shape == shape
    if x.size:
        np.testing.assert_array_equal(y, 0)


@pytest.mark.parametrize("error, words, call", [
    (TypeError, "x: int32", lambda x, g: bnorm.jax.train(x.astype(np.int32))),
    (ValueError, "axis: 2", lambda x, g: bnorm.jax.train(x, axis=2)),
    (ValueError, "gamma: .5,. for 6", lambda x, g: bnorm.jax.train(x, g[:5])),
    (ValueError, "var: .6, 1. for 6", lambda x, g: bnorm.jax.infer(x, g, g[:, None])),
    (ValueError, "residual: .6,.", lambda x, g: bnorm.jax.train(x, residual=g)),
    (ValueError, "epsilon", lambda x, g: bnorm.jax.train(x, epsilon=-1)),
    (ValueError, "activation: 'rule'", lambda x, g: bnorm.jax.train(x, activation="rule")),
    (ValueError, "activation", lambda x, g: bnorm.jax.train(x, activation=("clamp", 1, 0))),
])
def test_errors(error, words, call):
    x, gamma, *_ = arrays((8, 6), 6)
    with pytest.raises(error, match=words):
        call(x, gamma)


def handler(name, results, *given, axis=1, **more):
    attributes = dict(axis=np.int64(axis), epsilon=np.float32(0), activation=np.int32(0), alpha=np.float32(0), beta=np.float32(0))
    attributes.update(more)
    return jax.ffi.ffi_call(name, results)(*given, **{k: v for k, v in attributes.items() if v is not None})


@pytest.mark.parametrize("change", [
    dict(axis=2), dict(axis=-1), dict(epsilon=None), dict(epsilon=np.float64(0)), dict(activation=np.int32(99)),
    dict(epsilon=np.float32(-1)), dict(x=np.zeros((4, 3), np.int32)), dict(x=np.zeros((4, 4), np.float32)),
    dict(gamma=np.zeros(2, np.float32)), dict(gamma=np.zeros(3, np.int32)), dict(few=True), dict(mask=1)])
def test_handlers_refuse_what_does_not_fit(change):
    x, gamma = change.pop("x", np.ones((4, 3), np.float32)), change.pop("gamma", np.ones(3, np.float32))
    results = [jax.ShapeDtypeStruct((4, 3), np.float32), jax.ShapeDtypeStruct((change.pop("mask", 0),), np.uint8),
               jax.ShapeDtypeStruct((4, 3), np.float32)]
    given = (x, gamma) if change.pop("few", False) else (x, gamma, gamma)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        jax.block_until_ready(handler("bnorm_train", results, *given, **change))


def test_calls_at_once():
    """More programs than XLA has threads: none waits for a thread that waits for it."""
    x, gamma, beta, _, _ = arrays((16, 32, 32, 24), 24)
    step = jax.jit(jax.grad(lambda x, s: jnp.sum(bnorm.jax.train(s * x, gamma, beta, activation="relu")[0] ** 2)))
    right = step(x, 1.0)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for found in pool.map(lambda _: np.asarray(step(x, 1.0)), range(200)):
            np.testing.assert_array_equal(found, right)


def run_python(text, **environment):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(text)], env={**os.environ, **environment}, check=True,
                          stdout=subprocess.PIPE, text=True, timeout=300).stdout


def test_bits_do_not_depend_on_threads():
    text = """
        import bnorm.jax, hashlib, jax, numpy as np
        x = np.random.default_rng(1).standard_normal((8, 40, 40, 33)).astype("float32")
        step = jax.value_and_grad(lambda x: bnorm.jax.train(x, activation="relu")[0].sum())
        print(*(hashlib.sha256(np.asarray(a)).hexdigest() for a in jax.jit(step)(x)[1:]))
        """
    assert run_python(text, NPROC="1") == run_python(text, NPROC="4")


def test_several_devices():
    print(run_python("""
        import bnorm.jax, jax, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec as P
        x = np.random.default_rng(1).standard_normal((8, 5, 6)).astype("float32")
        step = jax.grad(lambda x: (bnorm.jax.train(x)[0] ** 3).sum())
        mesh = jax.make_mesh((2,), ("d",))
        split = jax.device_put(x, NamedSharding(mesh, P("d")))
        np.testing.assert_array_equal(jax.jit(step)(split), step(x))
        each = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=P("d"), out_specs=P("d"), check_vma=False))(split)
        np.testing.assert_array_equal(each, np.concatenate([step(x[:4]), step(x[4:])]))
        """, XLA_FLAGS="--xla_force_host_platform_device_count=2"))


def test_structs_are_those_of_the_headers():
    here = pathlib.Path(__file__).parent
    compiler = os.environ.get("CXX", "c++")
    subprocess.run([compiler, "-std=c++20", "-fsyntax-only", "-I", jax.ffi.include_dir(), here / "xla.cpp"], check=True)
