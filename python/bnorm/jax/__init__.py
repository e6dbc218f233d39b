# SPDX-License-Identifier: MIT
"""Batch normalisation in JAX: inside jit, on XLA's own threads, with gradients.

    y, mean, var = bnorm.jax.train(x, gamma, beta, activation="relu")
    y = bnorm.jax.infer(x, running_mean, running_var, gamma, beta)

`axis` is that of channels. Gradients are those of the library (custom_vjp), and so is what vmap gives, one call after the other.
Elsewhere than on CPUs, and for float64, the same is computed in JAX's own operations. bnorm.jax.linen and bnorm.jax.nnx have
Flax's BatchNorm.
"""

import functools
from typing import Any, Optional, Sequence, Tuple, Union

import jax
import jax.numpy as jnp
import numpy as np

from .. import _abi, infer as _infer_numpy
from . import _calls, _reference
from ._reference import Array, Options

__all__ = ["finish", "infer", "train"]

Activation = Union[str, Sequence[object]]
_FUSED = (*_calls.HAVE_MASK, "hard_swish", "identity")  # the others need an exponential, which XLA has, and the wheel has not


@functools.lru_cache(maxsize=None)
def _checked(activation: _abi.Activation, epsilon: float) -> _abi.Activation:
    """One that the library itself does not refuse, with this epsilon."""
    name, *parameters = _abi.ACTIVATIONS[activation.number], *activation[1:]
    value = np.zeros((1, 1), np.float32)
    _infer_numpy(value, value[0], value[0], epsilon=epsilon, layout="NC", activation=(name, *parameters) if name in _FUSED else None)
    return activation


@functools.partial(jax.jit, static_argnums=0)
def _batch_norm(options: Options, x: Array, gamma: Optional[Array], beta: Optional[Array], mean: Optional[Array],
                var: Optional[Array], residual: Optional[Array]) -> Tuple[Array, Array, Array]:
    """What is not given is 1 in gamma and 0 elsewhere."""
    parameter = jnp.promote_types(jnp.promote_types(x.dtype, options.dtype), jnp.float32)
    arrays = (x, *(jnp.full(x.shape[options.axis], default, parameter) if values is None else values.astype(parameter)
                   for values, default in ((gamma, 1), (beta, 0), (mean, 0), (var, 0))),
              None if residual is None else residual.astype(options.dtype))
    if not all(dtype.name in _calls.TYPES for dtype in (x.dtype, options.dtype)) or x.size == 0:
        return _reference.batch_norm(options, *arrays)
    name = _abi.ACTIVATIONS[options.activation.number]
    if name in _FUSED and (residual is None or name != "hard_swish"):
        return _calls.batch_norm(options, *arrays)
    y, *statistics = _calls.batch_norm(options._replace(activation=_abi.Activation()), *arrays)
    return _reference.activate(options.activation, y), *statistics


def _array(values: Any) -> Optional[Array]:
    """None stays None; asarray() takes its time even for what is one already."""
    return values if values is None or isinstance(values, jax.Array) else jnp.asarray(values)


def _call(training: bool, x: Array, axis: int, epsilon: float, activation: Optional[Activation], dtype: Any,
          residual: Optional[Array], **per_channel: Optional[Array]) -> Tuple[Array, Array, Array]:
    x = _array(x)
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"x: {x.dtype} is not a type of floats")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis: {axis} in an array of rank {x.ndim}")
    for name, values in per_channel.items():
        if values is not None and jnp.shape(values) != (x.shape[axis],):
            raise ValueError(f"{name}: {jnp.shape(values)} for {x.shape[axis]} channels")
    if residual is not None and jnp.shape(residual) != x.shape:
        raise ValueError(f"residual: {jnp.shape(residual)} for an x of {x.shape}")
    options = Options(training, axis % x.ndim, float(epsilon), _checked(_abi.activation_of(activation), float(epsilon)),
                      jnp.dtype(x.dtype if dtype is None else dtype))
    return _batch_norm(options, x, *map(_array, (*per_channel.values(), residual)))


def train(x: Array, gamma: Optional[Array] = None, beta: Optional[Array] = None, *, residual: Optional[Array] = None,
          axis: int = -1, epsilon: float = 1e-5, activation: Optional[Activation] = None,
          dtype: Any = None) -> Tuple[Array, Array, Array]:
    """Normalises by the statistics of the batch itself: activation((x - mean) * gamma / sqrt(var + epsilon) + beta + residual).

    The mean, and var, which is the biased one, come with it: a float32 per channel each. activation is a name, such as "relu", or a
    name and its parameters, such as ("clamp", 0, 6). dtype is y's, x's by default.
    """
    return _call(True, x, axis, epsilon, activation, dtype, residual, gamma=gamma, beta=beta, mean=None, var=None)


def infer(x: Array, mean: Array, var: Array, gamma: Optional[Array] = None, beta: Optional[Array] = None, *,
          residual: Optional[Array] = None, axis: int = -1, epsilon: float = 1e-5, activation: Optional[Activation] = None,
          dtype: Any = None) -> Array:
    """The same by given statistics, with respect to which there are gradients, too."""
    return _call(False, x, axis, epsilon, activation, dtype, residual, gamma=gamma, beta=beta, mean=mean, var=var)[0]


def finish(y: Array, residual: Optional[Array], activation: Optional[Activation]) -> Array:
    """activation(y + residual), in JAX's own operations."""
    return _reference.activate(_abi.activation_of(activation), y if residual is None else y + residual)
