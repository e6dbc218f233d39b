# SPDX-License-Identifier: MIT
"""bnorm.jax.linen and bnorm.jax.nnx against Flax's own batch norm."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
flax = pytest.importorskip("flax")

import bnorm.jax.linen  # noqa: E402
import bnorm.jax.nnx  # noqa: E402
import flax.linen  # noqa: E402
import flax.nnx  # noqa: E402
import jax.numpy as jnp  # noqa: E402

OPTIONS = [{}, dict(axis=1), dict(momentum=0.5, epsilon=1e-3), dict(use_bias=False), dict(use_scale=False, use_fast_variance=False),
           dict(dtype=jnp.bfloat16), dict(param_dtype=jnp.bfloat16), dict(scale_init=flax.linen.initializers.normal())]
BOTH = {"linen": (flax.linen.BatchNorm, bnorm.jax.linen.BatchNorm), "nnx": (flax.nnx.BatchNorm, bnorm.jax.nnx.BatchNorm)}


def tensor(*shape, seed=1, dtype=jnp.float32, offset=0.5):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape) + offset, dtype)


def same(ours, theirs, bound=1e-5):
    """The same names, shapes and types, and nearly the same values."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for value, right in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs)):
        assert value.shape == right.shape and value.dtype == right.dtype
        np.testing.assert_allclose(np.asarray(value, np.float32), np.asarray(right, np.float32), rtol=bound, atol=bound)


def step(flavour, cls, x, mode, stored, **options):
    """y, gradients of a loss, and statistics after two steps."""
    if flavour == "linen":
        layer = cls(use_running_average=stored, **options)
        variables = layer.init(jax.random.key(1), x)

        def loss(params, stats, x):
            y, new = layer.apply({"params": params, **stats}, x, mutable=["batch_stats"])
            return jnp.sum(jnp.asarray(y, jnp.float32) ** 3), (y, new)
        params, stats = variables.get("params", {}), {"batch_stats": variables["batch_stats"]}
        function = mode(jax.grad(loss, (0, 2), has_aux=True))
        for _ in range(2):
            gradients, (y, stats) = function(params, stats, x)
        return y, gradients, stats, variables
    layer = cls(x.shape[options.get("axis", -1)], use_running_average=stored, rngs=flax.nnx.Rngs(1), **options)
    before = flax.nnx.to_pure_dict(flax.nnx.state(layer))

    def loss(layer, x):
        y = layer(x)
        return jnp.sum(jnp.asarray(y, jnp.float32) ** 3), y
    mode = flax.nnx.jit if mode is jax.jit else mode
    function = mode(flax.nnx.grad(loss, argnums=(0, 1), has_aux=True))
    for _ in range(2):
        (own, dx), y = function(layer, x)
    return y, flax.nnx.to_pure_dict(own), dx, flax.nnx.to_pure_dict(flax.nnx.state(layer)), before


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("flavour", list(BOTH))
def test_the_same_as_flax(flavour, stored, dtype, options):
    x = tensor(6, 4, 5, 4, dtype=dtype)
    theirs, ours = (step(flavour, cls, x, jax.jit, stored, **options) for cls in BOTH[flavour])
    same(ours, theirs, 1e-4 if "bfloat16" not in f"{dtype} {options}" else 0.2)


@pytest.mark.parametrize("flavour", list(BOTH))
def test_a_mean_far_from_zero(flavour):
    """Flax takes the variance as a difference of squares."""
    x = tensor(64, 6, offset=1e4)
    exact = np.asarray(x, float)
    exact = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
    theirs, ours = (np.abs(np.asarray(step(flavour, cls, x, jax.jit, False)[0], float) - exact).max() for cls in BOTH[flavour])
    assert ours < 2e-6 < 1e-2 < theirs


@pytest.mark.parametrize("flavour", list(BOTH))
def test_activation_and_residual(flavour):
    x, residual = tensor(6, 5, 4), tensor(6, 5, 4, seed=2)
    theirs, ours = BOTH[flavour]
    if flavour == "linen":
        variables = theirs().init(jax.random.key(1), x, use_running_average=True)
        right = theirs().apply(variables, x, use_running_average=True)
        found = ours(activation="relu").apply(variables, x, use_running_average=True, residual=residual)
    else:
        right = theirs(4, use_running_average=True, rngs=flax.nnx.Rngs(1))(x)
        found = ours(4, use_running_average=True, rngs=flax.nnx.Rngs(1), activation="relu")(x, residual=residual)
    same(found, flax.linen.relu(right + residual))


@pytest.mark.parametrize("flavour", list(BOTH))
def test_what_is_left_to_flax(flavour, monkeypatch):
    """A mask, with an activation behind it; and what has no use_running_average is Flax's error."""
    theirs, ours = BOTH[flavour]
    monkeypatch.setattr(f"bnorm.jax.{flavour}.train", None)
    x, mask = tensor(6, 4), jnp.arange(6)[:, None] < 3
    if flavour == "linen":
        right, found = (cls(use_running_average=False, **more).init_with_output(jax.random.key(1), x, mask=mask)
                        for cls, more in ((theirs, {}), (ours, {"activation": "relu"})))
        same(found[1], right[1])
        same(found[0], flax.linen.relu(right[0]))
        with pytest.raises(ValueError, match="use_running_average"):
            ours().init(jax.random.key(1), x)
    else:
        right, found = (cls(4, rngs=flax.nnx.Rngs(1), **more)(x, mask=mask) for cls, more in ((theirs, {}), (ours, {"activation": "relu"})))
        same(found, flax.linen.relu(right))
        with pytest.raises(ValueError, match="use_running_average"):
            ours(4, use_running_average=None, rngs=flax.nnx.Rngs(1))(x)


def test_several_axes_of_features():
    x = tensor(6, 3, 4)
    theirs, ours = (cls(use_running_average=False, axis=(1, 2)).init_with_output(jax.random.key(1), x) for cls in BOTH["linen"])
    same(ours, theirs)


def test_parallel_axis_is_left_to_flax():
    x = tensor(2, 6, 4)
    theirs, ours = (cls(use_running_average=False, axis_name="batch") for cls in BOTH["linen"])
    variables = theirs.init(jax.random.key(1), x[0])
    right, found = (jax.vmap(lambda x, norm=norm: norm.apply(variables, x, mutable=["batch_stats"]), axis_name="batch")(x)
                    for norm in (theirs, ours))
    same(found, right)


class Network(flax.linen.Module):
    norm: type

    @flax.linen.compact
    def __call__(self, x, training):
        for features in (8, 16):
            x = flax.linen.Conv(features, (3, 3), use_bias=False)(x)
            x = flax.linen.relu(self.norm(use_running_average=not training, name=f"norm_{features}")(x))
        return flax.linen.Dense(3)(x.mean((1, 2)))


def test_a_network_learns_the_same_and_its_checkpoint_fits():
    x = tensor(24, 8, 8, 3)
    labels = x.mean((1, 2)).argmax(1)
    losses, models = [], []
    for norm in BOTH["linen"]:
        model = Network(norm)
        variables = model.init(jax.random.key(1), x, False)

        @jax.jit
        def train(variables, model=model):
            def loss(params):
                y, new = model.apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
                return -jnp.take_along_axis(jax.nn.log_softmax(y), labels[:, None], 1).mean(), new
            (value, new), slopes = jax.value_and_grad(loss, has_aux=True)(variables["params"])
            return value, {"params": jax.tree.map(lambda p, g: p - 0.5 * g, variables["params"], slopes), **new}
        curve = []
        for _ in range(20):
            value, variables = train(variables)
            curve.append(float(value))
        losses.append(curve)
        models.append((model, variables))
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert losses[1][-1] < 0.7 * losses[1][0]
    (theirs, variables), (ours, _) = models
    same(ours.apply(variables, x, False), theirs.apply(variables, x, False))


def test_names_are_flax_s():
    class Unnamed(flax.linen.Module):
        norm: type

        @flax.linen.compact
        def __call__(self, x):
            return self.norm(use_running_average=True)(self.norm(use_running_average=True)(x))
    theirs, ours = (Unnamed(norm).init(jax.random.key(1), tensor(2, 3)) for norm in BOTH["linen"])
    same(ours, theirs)
