# SPDX-License-Identifier: MIT
"""Keras 3 on PyTorch: every BatchNormalization of the process, in models that are not changed.

    bnorm.keras.enable()

What the library does not take runs in Keras's own code as before.
"""

import functools
from typing import Any, Callable, Optional, Tuple

_replaced: Optional[Tuple[Any, Callable[..., Any]]] = None  # the layer, and Keras's own call() of it


def _layer() -> Any:
    """Keras's BatchNormalization, of a Keras that runs on PyTorch."""
    try:
        import keras
    except ImportError as error:
        raise ImportError("bnorm.keras needs Keras 3 (pip install keras), with KERAS_BACKEND=torch in the environment: "
                          f"{error}") from error
    backend = keras.backend.backend()
    if backend != "torch":
        raise RuntimeError(f"bnorm.keras needs Keras on PyTorch, and this one is on {backend}: set KERAS_BACKEND=torch in the "
                           "environment before anything imports keras")
    return keras.layers.BatchNormalization


def _channels_second(layer: Any, inputs: Any) -> Any:
    """A view of a tensor as PyTorch has it, or None where a layer does with it what the library does not."""
    import torch
    if (not isinstance(inputs, torch.Tensor) or inputs.dim() < 2 or inputs.numel() == 0
            or inputs.dtype != getattr(torch, layer.compute_dtype, None) or getattr(layer, "renorm", False)):
        return None
    return inputs.movedim(layer.axis, 1)


def enable() -> None:
    """Has the BatchNormalization layers of Keras run through bnorm, on CPUs and outside of torch.compile, without fusing.

    Statistics are those of Keras: the moving variance is the biased one, and momentum is what the old value weighs. Subclasses of
    the layer are left alone, and so are masks, renorm, float64, other devices and what else the library does not take.
    """
    global _replaced
    if _replaced is not None:
        return
    layer = _layer()
    from .torch import _ops
    stock = layer.call

    @functools.wraps(stock)  # Keras reads its signature
    def call(self, inputs, training=None, mask=None):
        learning = bool(training and self.trainable)
        x = _channels_second(self, inputs) if type(self) is layer and mask is None else None
        if x is None or not _ops.takes(x, learning, 1 - self.momentum, self.epsilon):
            return stock(self, inputs, training=training, mask=mask)
        mean, var = self.moving_mean.value, self.moving_variance.value
        if learning:  # what changes goes through assign(), which knows of Keras's stateless scopes
            mean, var = mean.clone(), var.clone()
        y = _ops.apply(x, None, self.gamma.value if self.scale else None, self.beta.value if self.center else None, mean, var,
                       learning, 1 - self.momentum, True, self.epsilon, *_ops.IDENTITY)
        if learning:
            self.moving_mean.assign(mean)
            self.moving_variance.assign(var)
        return y.movedim(1, self.axis)

    _replaced, layer.call = (layer, stock), call


def disable() -> None:
    """Undoes enable()."""
    global _replaced
    if _replaced is not None:
        layer, stock = _replaced
        layer.call, _replaced = stock, None
