# SPDX-License-Identifier: MIT
"""The library's calls as JAX's functions: in XLA's programs for CPUs, differentiable, on XLA's own threads."""

import functools
from typing import Any, Callable, Optional, Tuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import _abi
from . import _reference
from ._reference import Array, Options

TYPES = ("float32", "bfloat16", "float16")
HAVE_MASK = ("relu", "clamp", "leaky_relu", "hard_sigmoid")  # see bnorm_epilogue

for _name in ("train", "infer", "backward"):
    jax.ffi.register_ffi_target(f"bnorm_{_name}", jax.ffi.pycapsule(getattr(_abi.library, f"bnorm_jax_{_name}")), platform="cpu")


def _call(name: str, results: Any, options: Options, *arrays: Array) -> Any:
    activation = options.activation
    call = jax.ffi.ffi_call(f"bnorm_{name}", results, vmap_method="sequential")
    return call(*arrays, axis=np.int64(options.axis), epsilon=np.float32(options.epsilon),
                activation=np.int32(activation.number), alpha=np.float32(activation.alpha), beta=np.float32(activation.beta))


def _mask_size(options: Options, x: Array, residual: Optional[Array]) -> int:
    """The backward pass computes z again from x, but for a residual."""
    has_mask = residual is not None and _abi.ACTIVATIONS[options.activation.number] in HAVE_MASK
    return -(-x.size // 8) if has_mask else 0


def _derived_from(reference: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a function of (options, *arrays) the derivatives of another, whose results are the first ones of it. Where a program
    is for another platform, the other is called altogether."""
    def decorate(function):
        @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
        def derived(options, *arrays):
            shapes = jax.eval_shape(functools.partial(function, options), *arrays)

            def elsewhere(*arrays):
                results = reference(options, *arrays)
                return (*results, *(jnp.zeros(shape.shape, shape.dtype) for shape in shapes[len(results):]))
            return jax.lax.platform_dependent(*arrays, cpu=functools.partial(function, options), default=elsewhere)

        @derived.defjvp
        def rule(options, arrays, tangents):
            results = derived(options, *arrays)
            _, slopes = jax.jvp(functools.partial(reference, options), arrays, tangents)
            return results, (*slopes, *map(jax.custom_derivatives.zero_from_primal, results[len(slopes):]))
        return derived
    return decorate


@_derived_from(_reference.batch_norm)
def _forward(options: Options, x: Array, gamma: Array, beta: Array, mean: Array, var: Array,
             residual: Optional[Array]) -> Tuple[Array, ...]:
    """y, mean and var, and for the backward pass statistics and a mask."""
    y = jax.ShapeDtypeStruct(x.shape, options.dtype)
    mask = jax.ShapeDtypeStruct((_mask_size(options, x, residual),), jnp.uint8)
    more = () if residual is None else (residual,)
    if options.training:
        saved = jax.ShapeDtypeStruct((4, *gamma.shape), jnp.float32)
        y, mask, saved = _call("train", (y, mask, saved), options, x, gamma, beta, *more)
        return y, saved[0], saved[3], saved, mask
    saved = jnp.stack([mean, var])
    y, mask = _call("infer", (y, mask), options, x, gamma, beta, saved, *more)
    return y, mean, var, saved, mask


def _backward_reference(options, dy, x, gamma, beta, mean, var, residual, *_):
    def y(x, gamma, beta, residual):
        return _reference.batch_norm(options, x, gamma, beta, mean, var, residual)[0]
    return jax.vjp(y, x, gamma, beta, residual)[1](dy)


@_derived_from(_backward_reference)
def _backward(options: Options, dy: Array, x: Array, gamma: Array, beta: Array, mean: Array, var: Array,
              residual: Optional[Array], saved: Array, mask: Array) -> Tuple[Array, ...]:
    """The gradients of x, gamma, beta and the residual."""
    like = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in (x, gamma, beta, dy)]
    gradients = _call("backward", like[:3 if residual is None else 4], options, dy, x, gamma, beta, saved, mask)
    return (*gradients, None) if residual is None else tuple(gradients)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def batch_norm(options: Options, x: Array, gamma: Array, beta: Array, mean: Array, var: Array,
               residual: Optional[Array]) -> Tuple[Array, Array, Array]:
    """What _reference.batch_norm() gives, of one of TYPES. Arrays of one value per channel are of float32, and a residual is of
    y's type."""
    return _forward(options, x, gamma, beta, mean, var, residual)[:3]


def _vjp_forward(options, *arguments):
    arrays = [None if a is None else a.value for a in arguments]
    y, mean, var, saved, mask = _forward(options, *arrays)
    x, gamma, beta, _, _, residual = arrays
    return (y, mean, var), (x, gamma, beta, mean, var, residual, saved, mask)


def _vjp_backward(options, kept, cotangents):
    dy, dmean, dvar = (None if isinstance(d, jax.custom_derivatives.SymbolicZero) else d for d in cotangents)
    x, gamma, beta, mean, var, residual, *_ = kept
    if dy is None:
        dy = jnp.zeros(x.shape, options.dtype)
    dx, dgamma, dbeta, dresidual = _backward(options, dy, *kept)
    if options.training:
        dx = _add_statistics(options, dx, x, mean, dmean, dvar)
        return dx, dgamma, dbeta, jnp.zeros_like(mean), jnp.zeros_like(var), dresidual
    scale = gamma * jax.lax.rsqrt(var + options.epsilon)
    own_mean, own_var = -scale * dbeta, -0.5 * gamma * dgamma / (var + options.epsilon)
    return (dx, dgamma, dbeta, own_mean if dmean is None else own_mean + dmean, own_var if dvar is None else own_var + dvar,
            dresidual)


def _add_statistics(options, dx, x, mean, dmean, dvar):
    """To the gradient of x, what the batch's mean and variance pass on, where a loss has them in it."""
    others = [i for i in range(x.ndim) if i != options.axis]
    count = x.size // x.shape[options.axis]
    if dmean is not None:
        dx = dx + jnp.expand_dims(dmean / count, others)
    if dvar is not None:
        dx = dx + jnp.expand_dims(2 * dvar / count, others) * (x - jnp.expand_dims(mean, others))
    return dx.astype(x.dtype)


batch_norm.defvjp(_vjp_forward, _vjp_backward, symbolic_zeros=True)
