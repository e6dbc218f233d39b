# SPDX-License-Identifier: MIT
"""What the library computes, in JAX's own operations: for what it does not take, and for gradients of gradients."""

from typing import Any, NamedTuple, Tuple

import jax
import jax.numpy as jnp

from .. import _abi

Array = Any


class Options(NamedTuple):
    """What is known when a function is traced."""

    training: bool
    axis: int  # from 0
    epsilon: float
    activation: _abi.Activation
    dtype: Any  # of y


def activate(activation: _abi.Activation, z: Array) -> Array:
    """bnorm_activation of z."""
    _, a, b = activation
    functions = {
        "identity": lambda: z,
        "relu": lambda: jax.nn.relu(z),
        "clamp": lambda: jnp.clip(z, a, b),
        "leaky_relu": lambda: jax.nn.leaky_relu(z, a),
        "hard_sigmoid": lambda: jnp.clip(a * z + b, 0, 1),
        "hard_swish": lambda: jax.nn.hard_swish(z),
        "sigmoid": lambda: jax.nn.sigmoid(z),
        "silu": lambda: jax.nn.silu(z),
        "tanh": lambda: jnp.tanh(z),
        "gelu": lambda: jax.nn.gelu(z, approximate=False),
        "gelu_tanh": lambda: jax.nn.gelu(z, approximate=True),
        "elu": lambda: jax.nn.elu(z, a),
        "softplus": lambda: jax.nn.softplus(z),
        "mish": lambda: jax.nn.mish(z),
    }
    return functions[_abi.ACTIVATIONS[activation.number]]()


def batch_norm(options: Options, x: Array, gamma: Array, beta: Array, mean: Array, var: Array,
               residual: Array) -> Tuple[Array, Array, Array]:
    """y, and the mean and variance that it is normalised by: in training the batch's own, else those that are given."""
    others = [i for i in range(x.ndim) if i != options.axis]

    def spread(values):
        return jnp.expand_dims(values, others)

    values = x.astype(gamma.dtype)
    if options.training:
        mean = jnp.mean(values, others)
        var = jnp.mean(jnp.square(values - spread(mean)), others)
    z = (values - spread(mean)) * spread(gamma * jax.lax.rsqrt(var + options.epsilon)) + spread(beta)
    if residual is not None:
        z = z + residual
    return activate(options.activation, z).astype(options.dtype), mean, var
