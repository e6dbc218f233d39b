# SPDX-License-Identifier: MIT
"""Flax's BatchNorm of nnx, computed by bnorm: `from bnorm.jax.nnx import BatchNorm` instead of from flax.nnx.

Parameters, statistics and their names are Flax's, and so are the files of trained models.
"""

from typing import Any, Optional

import flax.nnx
import jax
import jax.numpy as jnp
from flax.nnx.nn.dtypes import canonicalize_dtype, promote_dtype

from . import Activation, finish, train


class BatchNorm(flax.nnx.BatchNorm):
    """flax.nnx.BatchNorm, with an activation behind it, as in bnorm.jax.train, and a residual that is added in between.

    Evaluation is Flax's own code, which XLA makes one loop of with what is around it. So is what has a mask, several axes, an
    axis_name, or a promote_dtype. use_fast_variance changes nothing.
    """

    def __init__(self, num_features: int, *, activation: Optional[Activation] = None, **arguments: Any) -> None:
        super().__init__(num_features, **arguments)
        self.activation = activation

    def __call__(self, x: Any, use_running_average: Optional[bool] = None, *, mask: Any = None, residual: Any = None) -> Any:
        stored = self.use_running_average if use_running_average is None else use_running_average
        if (stored is not False or mask is not None or not isinstance(self.axis, int) or self.axis_name is not None
                or getattr(self, "promote_dtype", promote_dtype) is not promote_dtype or jnp.iscomplexobj(x)):
            return finish(super().__call__(x, use_running_average, mask=mask), residual, self.activation)
        mean, var = self.mean[...], self.var[...]
        scale, bias = (None if values is None else values[...] for values in (self.scale, self.bias))
        y, *batch = train(x, scale, bias, residual=residual, axis=self.axis, epsilon=self.epsilon, activation=self.activation,
                          dtype=canonicalize_dtype(x, mean, var, scale, bias, dtype=self.dtype))
        for running, new in zip((self.mean, self.var), jax.lax.stop_gradient(batch)):
            running[...] = self.momentum * running[...] + (1 - self.momentum) * new
        return y
