# SPDX-License-Identifier: MIT
"""Flax's BatchNorm, computed by bnorm: `from bnorm.jax.linen import BatchNorm` instead of from flax.linen.

Parameters, variables and their names are Flax's, and so are the files of trained models.
"""

from typing import Any, Optional

import flax.linen
import jax.numpy as jnp
from flax.linen.dtypes import canonicalize_dtype

from . import Activation, finish, train


class BatchNorm(flax.linen.BatchNorm):
    """flax.linen.BatchNorm, with an activation behind it, as in bnorm.jax.train, and a residual that is added in between.

    Evaluation is Flax's own code, which XLA makes one loop of with what is around it. So is what has a mask, several axes, an
    axis_name, or not force_float32_reductions. use_fast_variance changes nothing.
    """

    activation: Optional[Activation] = None

    @flax.linen.compact
    def __call__(self, x: Any, use_running_average: Optional[bool] = None, *, mask: Any = None, residual: Any = None) -> Any:
        stored = flax.linen.merge_param("use_running_average", self.use_running_average, use_running_average)
        if (stored or mask is not None or not isinstance(self.axis, int) or not self.force_float32_reductions
                or jnp.iscomplexobj(x) or (self.axis_name is not None and not self.is_initializing())):
            return finish(super().__call__(x, use_running_average, mask=mask), residual, self.activation)
        channels = (x.shape[self.axis],)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", self.scale_init, channels, self.param_dtype) if self.use_scale else None
        bias = self.param("bias", self.bias_init, channels, self.param_dtype) if self.use_bias else None
        y, batch_mean, batch_var = train(x, scale, bias, residual=residual, axis=self.axis, epsilon=self.epsilon,
                                         activation=self.activation, dtype=canonicalize_dtype(x, scale, bias, dtype=self.dtype))
        if not self.is_initializing():
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        return y
