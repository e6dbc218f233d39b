# SPDX-License-Identifier: MIT
"""Batch normalisation for CPUs: exact at any offset, with the same bits on every ISA and thread count.

Functions take NumPy arrays of float32, float16 or, with ml_dtypes, bfloat16. `layout` names the axes of an array, such as
"NCHW", "NHWC", "NC", "NCL", "NDHWC" or, in blocks of adjacent channels, "NCHW16c"; its strides may be any that keep elements
apart. Nothing is copied: what the library cannot take as it lies is a ValueError or TypeError that names the argument, and
so is every failure of the library (`Error`), in which case nothing was written. Arrays of one value per channel are
contiguous float32. The GIL is free during a call.

Sums follow the memory: where channels are adjacent, as in "NHWC", bits are those of NHWC, whatever the order of the axes.
"""

import ctypes
from typing import NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from . import _abi
from ._abi import Error, call, library, size_of
from ._arrays import like, per_channel, shape_of, twin, writable
from ._threads import executor, get_num_threads, set_num_threads

__all__ = ["Error", "Gradients", "Saved", "backward", "backward_apply", "backward_reduce", "fold", "get_num_threads",
           "infer", "isa", "isas", "mask_size", "set_isa", "set_num_threads", "train", "train_apply", "train_collect",
           "train_finish", "train_merge"]
__version__ = library.bnorm_version().decode()

Activation = Union[str, Sequence[object]]


class Saved(NamedTuple):
    """What training keeps for the backward pass: the mean is mean + mean_low, and rstd is 1/sqrt(var + epsilon)."""

    mean: np.ndarray
    mean_low: np.ndarray
    rstd: np.ndarray


class Gradients(NamedTuple):
    """Those of a loss with respect to x, gamma, beta and the residual; None where it was not wanted."""

    dx: Optional[np.ndarray]
    dgamma: Optional[np.ndarray]
    dbeta: Optional[np.ndarray]
    dresidual: Optional[np.ndarray]


def isas() -> Tuple[str, ...]:
    """The ISAs that run on this CPU, best first."""
    return tuple(library.bnorm_isa_name(i).decode() for i in range(library.bnorm_isa_count()))


def isa() -> str:
    """The ISA that calls use."""
    return library.bnorm_isa().decode()


def set_isa(name: Optional[str]) -> None:
    """Makes later calls of the process use one of isas(); None: the best again."""
    call("bnorm_set_isa", None if name is None else name.encode())


def _epilogue(activation: Optional[Activation], residual: Optional[np.ndarray], mask: Optional[np.ndarray],
              y: np.ndarray, y_name: str) -> Optional[_abi.Epilogue]:
    if activation is None and residual is None and mask is None:
        return None
    number, alpha, beta = _abi.activation_of(activation)
    if mask is not None and (mask.dtype != np.uint8 or not mask.flags.c_contiguous):
        raise TypeError("mask: not a contiguous array of uint8")
    return _abi.Epilogue(activation=number, alpha=alpha, beta=beta,
                         residual=like("residual", residual, y, y_name), mask=None if mask is None else mask.ctypes.data)


def _check_mask(mask: Optional[np.ndarray], shape: _abi.Shape) -> None:
    if mask is not None and mask.size < size_of("bnorm_mask_size", shape):
        raise ValueError(f"mask: {mask.size} bytes where mask_size() says {size_of('bnorm_mask_size', shape)}")


def _hint(hint: str) -> int:
    if hint not in _abi.HINTS:
        raise ValueError(f"hint: {hint!r} is not one of {', '.join(_abi.HINTS)}")
    return _abi.HINTS[hint]


def _workspace(shape: _abi.Shape, operation: int, threads: Optional[_abi.Executor]) -> Tuple[np.ndarray, int, int]:
    """Scratch memory: the array that owns it, its address and its size."""
    memory = np.empty(max(size_of("bnorm_workspace_size", shape, operation, threads), 1), np.uint8)
    return memory, memory.ctypes.data, memory.size


def mask_size(x: np.ndarray, *, layout: str = "NCHW", channels: Optional[int] = None) -> int:
    """The bytes of a mask for an output that is laid out as x."""
    return size_of("bnorm_mask_size", shape_of(layout, x, x, channels, ("x", "x")))


def infer(x: np.ndarray, mean: np.ndarray, var: np.ndarray, gamma: Optional[np.ndarray] = None,
          beta: Optional[np.ndarray] = None, *, epsilon: float = 1e-5, layout: str = "NCHW",
          activation: Optional[Activation] = None, residual: Optional[np.ndarray] = None,
          mask: Optional[np.ndarray] = None, out: Optional[np.ndarray] = None, hint: str = "auto") -> np.ndarray:
    """Normalises by given statistics: activation((x - mean) * gamma / sqrt(var + epsilon) + beta + residual).

    activation is a name, such as "relu", or a name and its parameters, such as ("clamp", 0, 6) or ("leaky_relu", 0.01).
    out may be x. mask (uint8, mask_size() bytes) is written, for a backward pass without the residual.
    """
    y = np.empty_like(x) if out is None else out
    writable("out", y)
    shape = shape_of(layout, x, y, mean.size, ("x", "out"))
    _check_mask(mask, shape)
    epilogue = _epilogue(activation, residual, mask, y, "out")
    params = _abi.InferParams(
        mean=per_channel("mean", mean, shape.channels), var=per_channel("var", var, shape.channels),
        gamma=per_channel("gamma", gamma, shape.channels), beta=per_channel("beta", beta, shape.channels),
        epsilon=epsilon, hint=_hint(hint), epilogue=epilogue and ctypes.pointer(epilogue))
    call("bnorm_infer", shape, params, x.ctypes.data, y.ctypes.data, executor())
    return y


def fold(weights: np.ndarray, bias: Optional[np.ndarray], mean: np.ndarray, var: np.ndarray,
         gamma: Optional[np.ndarray] = None, beta: Optional[np.ndarray] = None, *, epsilon: float = 1e-5,
         layout: str = "CNHW", out: Optional[np.ndarray] = None) -> Tuple[np.ndarray, np.ndarray]:
    """Folds infer() into the convolution or linear layer before it: its weights and bias, new.

    To `layout`, C is the axis of outputs, and N and the others are any: "CNHW" is OIHW, "CN" a linear layer's [out][in], and
    "HWNC" is HWIO.
    """
    folded = np.empty_like(weights) if out is None else out
    folded_bias = np.empty(mean.size, np.float32)
    writable("out", folded)
    shape = shape_of(layout, weights, folded, mean.size, ("weights", "out"))
    params = _abi.InferParams(
        mean=per_channel("mean", mean, shape.channels), var=per_channel("var", var, shape.channels),
        gamma=per_channel("gamma", gamma, shape.channels), beta=per_channel("beta", beta, shape.channels),
        epsilon=epsilon)
    call("bnorm_fold", shape, params, weights.ctypes.data, per_channel("bias", bias, shape.channels),
         folded.ctypes.data, folded_bias.ctypes.data)
    return folded, folded_bias


def _train_params(channels: int, gamma: Optional[np.ndarray], beta: Optional[np.ndarray], epsilon: float,
                  saved: Saved, running_mean: Optional[np.ndarray] = None, running_var: Optional[np.ndarray] = None,
                  momentum: float = 0.1, biased: bool = False, hint: str = "auto",
                  epilogue: Optional[_abi.Epilogue] = None) -> _abi.TrainParams:
    writable("running_mean", running_mean)
    writable("running_var", running_var)
    return _abi.TrainParams(
        gamma=per_channel("gamma", gamma, channels), beta=per_channel("beta", beta, channels), epsilon=epsilon,
        momentum=momentum, running_variance=int(biased),
        running_mean=per_channel("running_mean", running_mean, channels),
        running_var=per_channel("running_var", running_var, channels),
        saved_mean=per_channel("saved.mean", saved.mean, channels),
        saved_mean_low=per_channel("saved.mean_low", saved.mean_low, channels),
        saved_rstd=per_channel("saved.rstd", saved.rstd, channels), hint=_hint(hint),
        epilogue=epilogue and ctypes.pointer(epilogue))


def _new_saved(channels: int) -> Saved:
    return Saved(*(np.zeros(channels, np.float32) for _ in range(3)))


def train(x: np.ndarray, gamma: Optional[np.ndarray] = None, beta: Optional[np.ndarray] = None, *,
          running_mean: Optional[np.ndarray] = None, running_var: Optional[np.ndarray] = None, momentum: float = 0.1,
          biased: bool = False, epsilon: float = 1e-5, layout: str = "NCHW", channels: Optional[int] = None,
          activation: Optional[Activation] = None, residual: Optional[np.ndarray] = None,
          mask: Optional[np.ndarray] = None, out: Optional[np.ndarray] = None,
          hint: str = "auto") -> Tuple[np.ndarray, Saved]:
    """Normalises by the statistics of the batch itself; returns y and what backward() needs.

    running = (1 - momentum) * running + momentum * batch, in place, with the unbiased variance unless `biased`. channels is
    for blocked layouts whose last block is not full. The rest is as in infer().
    """
    y = np.empty_like(x) if out is None else out
    writable("out", y)
    shape = shape_of(layout, x, y, channels, ("x", "out"))
    _check_mask(mask, shape)
    saved = _new_saved(shape.channels)
    params = _train_params(shape.channels, gamma, beta, epsilon, saved, running_mean, running_var, momentum, biased, hint,
                           _epilogue(activation, residual, mask, y, "out"))
    threads = executor()
    _memory, *workspace = _workspace(shape, _abi.OP_TRAIN, threads)
    call("bnorm_train", shape, params, x.ctypes.data, y.ctypes.data, *workspace, threads)
    return y, saved


def train_collect(x: np.ndarray, *, layout: str = "NCHW",
                  channels: Optional[int] = None) -> Tuple[int, np.ndarray, np.ndarray]:
    """The statistics of one tensor: how many values per channel, their means, and sums of squared deviations from them."""
    shape = shape_of(layout, x, x, channels, ("x", "x"))
    mean, m2 = np.empty(shape.channels), np.empty(shape.channels)
    threads = executor()
    _memory, *workspace = _workspace(shape, _abi.OP_TRAIN, threads)
    call("bnorm_train_collect", shape, x.ctypes.data, mean.ctypes.data, m2.ctypes.data, *workspace, threads)
    return shape.batch * shape.points, mean, m2


def train_merge(count: int, mean: np.ndarray, m2: np.ndarray, more_count: int, more_mean: np.ndarray,
                more_m2: np.ndarray) -> int:
    """Merges the statistics of other values into mean and m2, in place; returns how many values these are of then."""
    writable("mean", mean)
    writable("m2", m2)
    arrays = {"mean": mean, "m2": m2, "more_mean": more_mean, "more_m2": more_m2}
    mine = [per_channel(name, array, mean.size, np.float64) for name, array in arrays.items()]
    call("bnorm_train_merge", mean.size, count, *mine[:2], more_count, *mine[2:])
    return count + more_count


def train_finish(count: int, mean: np.ndarray, m2: np.ndarray, *, running_mean: Optional[np.ndarray] = None,
                 running_var: Optional[np.ndarray] = None, momentum: float = 0.1, biased: bool = False,
                 epsilon: float = 1e-5) -> Saved:
    """Updates running statistics, in place, and returns what train_apply() and backward_apply() need."""
    saved = _new_saved(mean.size)
    params = _train_params(mean.size, None, None, epsilon, saved, running_mean, running_var, momentum, biased)
    call("bnorm_train_finish", mean.size, count, per_channel("mean", mean, mean.size, np.float64),
         per_channel("m2", m2, mean.size, np.float64), params)
    return saved


def train_apply(x: np.ndarray, saved: Saved, gamma: Optional[np.ndarray] = None, beta: Optional[np.ndarray] = None, *,
                epsilon: float = 1e-5, layout: str = "NCHW", activation: Optional[Activation] = None,
                residual: Optional[np.ndarray] = None, mask: Optional[np.ndarray] = None,
                out: Optional[np.ndarray] = None, hint: str = "auto") -> np.ndarray:
    """y from statistics that train_finish() gave."""
    y = np.empty_like(x) if out is None else out
    writable("out", y)
    shape = shape_of(layout, x, y, saved.mean.size, ("x", "out"))
    _check_mask(mask, shape)
    params = _train_params(shape.channels, gamma, beta, epsilon, saved, hint=hint,
                           epilogue=_epilogue(activation, residual, mask, y, "out"))
    call("bnorm_train_apply", shape, params, x.ctypes.data, y.ctypes.data, executor())
    return y


def _backward_params(channels: int, gamma: Optional[np.ndarray], beta: Optional[np.ndarray], saved: Saved,
                     frozen: bool, epsilon: float, epilogue: Optional[_abi.Epilogue], hint: str) -> _abi.BackwardParams:
    mean, low, scale = (per_channel(f"saved[{i}]", array, channels) for i, array in enumerate(saved))
    return _abi.BackwardParams(
        statistics=int(frozen), epilogue=epilogue and ctypes.pointer(epilogue),
        gamma=per_channel("gamma", gamma, channels), beta=per_channel("beta", beta, channels), mean=mean,
        mean_low=None if frozen else low, rstd=None if frozen else scale, var=scale if frozen else None, epsilon=epsilon,
        hint=_hint(hint))


def _saved_or_frozen(saved: Optional[Saved], frozen: Optional[Tuple[np.ndarray, np.ndarray]]) -> Saved:
    """In the place of rstd, what is frozen has the variance; it has no low part."""
    if saved is not None and frozen is None:
        return saved
    if frozen is not None and saved is None:
        return Saved(frozen[0], frozen[0], frozen[1])
    raise ValueError("saved: either it or frozen must be given")


def backward(dy: np.ndarray, x: np.ndarray, saved: Optional[Saved] = None, gamma: Optional[np.ndarray] = None,
             beta: Optional[np.ndarray] = None, *, frozen: Optional[Tuple[np.ndarray, np.ndarray]] = None,
             epsilon: float = 1e-5, layout: str = "NCHW", activation: Optional[Activation] = None,
             residual: Optional[np.ndarray] = None, mask: Optional[np.ndarray] = None, wanted: str = "x gamma beta",
             out: Optional[np.ndarray] = None, hint: str = "auto") -> Gradients:
    """The gradients of train(), given what it saved, or of infer(), given frozen=(mean, var), with respect to what is wanted.

    wanted names some of "x", "gamma", "beta" and "residual". activation, residual and mask are as in the forward call; with a
    residual either it or the mask must be there again. out may be dy or x.
    """
    names = set(wanted.split())
    if not names <= {"x", "gamma", "beta", "residual"}:
        raise ValueError(f"wanted: {wanted!r} names other things than x, gamma, beta and residual")
    given = _saved_or_frozen(saved, frozen)
    dx = (twin(x) if out is None else out) if "x" in names else None
    writable("out", dx)
    shape = shape_of(layout, x, dy, given.mean.size, ("x", "dy"))
    _check_mask(mask, shape)
    dresidual = twin(dy) if "residual" in names else None
    dgamma, dbeta = (np.empty(shape.channels, np.float32) if name in names else None for name in ("gamma", "beta"))
    params = _backward_params(shape.channels, gamma, beta, given, frozen is not None, epsilon,
                              _epilogue(activation, residual, mask, dy, "dy"), hint)
    params.dgamma, params.dbeta, params.dresidual = (None if a is None else a.ctypes.data for a in (dgamma, dbeta, dresidual))
    threads = executor()
    _memory, *workspace = _workspace(shape, _abi.OP_BACKWARD, threads)
    call("bnorm_backward", shape, params, x.ctypes.data, dy.ctypes.data, like("out", dx, x, "x"), *workspace, threads)
    return Gradients(dx, dgamma, dbeta, dresidual)


def backward_reduce(dy: np.ndarray, x: np.ndarray, saved: Saved, gamma: Optional[np.ndarray] = None,
                    beta: Optional[np.ndarray] = None, *, layout: str = "NCHW",
                    activation: Optional[Activation] = None, residual: Optional[np.ndarray] = None,
                    mask: Optional[np.ndarray] = None) -> np.ndarray:
    """The sums [3][channels] that the gradients of one tensor follow from: those of several are added."""
    shape = shape_of(layout, x, dy, saved.mean.size, ("x", "dy"))
    _check_mask(mask, shape)
    sums = np.empty((3, shape.channels))
    params = _backward_params(shape.channels, gamma, beta, saved, False, 0.0,
                              _epilogue(activation, residual, mask, dy, "dy"), "auto")
    threads = executor()
    _memory, *workspace = _workspace(shape, _abi.OP_BACKWARD, threads)
    call("bnorm_backward_reduce", shape, params, x.ctypes.data, dy.ctypes.data, sums.ctypes.data, *workspace, threads)
    return sums


def backward_apply(dy: np.ndarray, x: np.ndarray, saved: Saved, count: int, sums: np.ndarray,
                   gamma: Optional[np.ndarray] = None, beta: Optional[np.ndarray] = None, *, layout: str = "NCHW",
                   activation: Optional[Activation] = None, residual: Optional[np.ndarray] = None,
                   mask: Optional[np.ndarray] = None, out: Optional[np.ndarray] = None, hint: str = "auto") -> Gradients:
    """The gradients of a tensor that is one of several, from sums over all of them and `count` values per channel."""
    dx = twin(x) if out is None else out
    writable("out", dx)
    shape = shape_of(layout, x, dy, saved.mean.size, ("x", "dy"))
    _check_mask(mask, shape)
    dgamma, dbeta = np.empty(shape.channels, np.float32), np.empty(shape.channels, np.float32)
    params = _backward_params(shape.channels, gamma, beta, saved, False, 0.0,
                              _epilogue(activation, residual, mask, dy, "dy"), hint)
    params.dgamma, params.dbeta = dgamma.ctypes.data, dbeta.ctypes.data
    call("bnorm_backward_apply", shape, params, count, per_channel("sums", sums, 3 * shape.channels, np.float64),
         x.ctypes.data, dy.ctypes.data, like("out", dx, x, "x"), executor())
    return Gradients(dx, dgamma, dbeta, None)
