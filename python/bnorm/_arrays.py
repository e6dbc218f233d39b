# SPDX-License-Identifier: MIT
"""NumPy arrays as the library's tensors: nothing is copied, and what cannot be described is refused."""

import functools
import math
import re
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import _abi


class View(NamedTuple):
    """How an array lies in memory."""

    shape: Tuple[int, ...]
    strides: Tuple[int, ...]
    dtype: np.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Axes(NamedTuple):
    """Which axis is which."""

    batch: int
    channel: int
    block: Optional[int]
    points: Tuple[int, ...]


def axes_of(layout: str, array: View) -> Axes:
    """Reads "NCHW", "NHWC", "NC", "NCL", "NDHWC" and the like; "NCHW16c" has a last axis of 16 adjacent channels."""
    parts = re.fullmatch(r"([A-Z]+?)(?:(\d+)c)?", layout)
    if parts is None:
        raise ValueError(f"layout: {layout!r} is not of letters, and then maybe a block as in NCHW16c")
    letters = parts[1]
    if letters.count("N") != 1 or letters.count("C") != 1 or len(set(letters)) != len(letters):
        raise ValueError(f"layout: {layout!r} does not name one N, one C and the axes of points")
    block = len(letters) if parts[2] else None
    if len(array.shape) != len(letters) + (block is not None):
        raise ValueError(f"layout: {layout!r} is not of {len(array.shape)} axes")
    if block is not None and array.shape[block] != int(parts[2]):
        raise ValueError(f"layout: {layout!r} has another block than {array.shape[block]}")
    points = tuple(i for i, letter in enumerate(letters) if letter not in "NC")
    return Axes(letters.index("N"), letters.index("C"), block, points)


def _strides(name: str, array: View) -> List[int]:
    """In elements; 0 where an axis steps over nothing."""
    strides = []
    for size, stride in zip(array.shape, array.strides):
        if size == 1:
            stride = 0
        elif stride <= 0 or stride % array.dtype.itemsize:
            raise ValueError(f"{name}: strides must be positive multiples of an element")
        strides.append(stride // array.dtype.itemsize)
    return strides


def point_stride(sizes: Sequence[int], strides: Sequence[int]) -> Optional[int]:
    """The stride of all axes of points as one; None where they do not have one. Axes of one element are ignored."""
    stride, extent = 0, 1
    for size, step in zip(reversed(sizes), reversed(strides)):
        if size == 1:
            continue
        if stride == 0:
            stride = step
        elif step != extent * stride:
            return None
        extent *= size
    return stride


def _layout(name: str, array: View, axes: Axes, block: int) -> _abi.Layout:
    if str(array.dtype) not in _abi.DTYPES or not array.dtype.isnative:
        raise TypeError(f"{name}: {array.dtype} is not one of {', '.join(_abi.DTYPES)}")
    strides = _strides(name, array) if array.size else [0] * len(array.shape)
    of_blocks = 0 if axes.block is None and block > 1 else strides[axes.channel]
    if axes.block is not None and array.size and array.shape[axes.block] > 1 and strides[axes.block] != 1:
        raise ValueError(f"{name}: the channels of a block are not adjacent")
    point = point_stride([array.shape[i] for i in axes.points], [strides[i] for i in axes.points]) if array.size else 0
    if point is None:
        raise ValueError(f"{name}: its axes of points do not have one stride")
    return _abi.Layout(_abi.DTYPES[str(array.dtype)], strides[axes.batch], of_blocks, point)


def _channels_adjacent(array: View, axes: Axes) -> bool:
    return array.shape[axes.channel] > 1 and array.strides[axes.channel] == array.dtype.itemsize


def shape_of(layout: str, x: np.ndarray, y: np.ndarray, channels: Optional[int], names: Tuple[str, str]) -> _abi.Shape:
    """The shape of two tensors of equal sizes; where the channels of both are adjacent, they are one block."""
    for name, array in zip(names, (x, y)):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}: not an array")
    return _shape_of(layout, View(x.shape, x.strides, x.dtype), View(y.shape, y.strides, y.dtype), channels, names)


@functools.lru_cache(maxsize=1024)
def _shape_of(layout: str, x: View, y: View, channels: Optional[int], names: Tuple[str, str]) -> _abi.Shape:
    """The same, which most calls have asked for before."""
    axes = axes_of(layout, x)
    if x.shape != y.shape:
        raise ValueError(f"{names[1]}: its shape {y.shape} is not that of {names[0]}, {x.shape}")
    if axes.block is not None:
        block, most = x.shape[axes.block], x.shape[axes.channel] * x.shape[axes.block]
    else:
        most = x.shape[axes.channel]
        block = most if _channels_adjacent(x, axes) and _channels_adjacent(y, axes) else 1
    channels = most if channels is None else channels
    if not most - block < channels <= most or (axes.block is None and channels != most):
        raise ValueError(f"channels: {channels} where {names[0]} has {most}")
    return _abi.Shape(batch=x.shape[axes.batch], channels=channels, points=math.prod(x.shape[i] for i in axes.points),
                      block=block, in_=_layout(names[0], x, axes, block), out=_layout(names[1], y, axes, block))


def like(name: str, array: Optional[np.ndarray], other: np.ndarray, other_name: str) -> Optional[int]:
    """The address of a tensor that must be laid out as another one is."""
    if array is None:
        return None
    if not isinstance(array, np.ndarray) or array.shape != other.shape or array.dtype != other.dtype:
        raise ValueError(f"{name}: not an array of the shape and type of {other_name}")
    if any(a != b for a, b, size in zip(array.strides, other.strides, array.shape) if size > 1):
        raise ValueError(f"{name}: its strides are not those of {other_name}")
    return array.ctypes.data


def twin(array: np.ndarray) -> np.ndarray:
    """A new array with the strides of another, also where there are gaps between its elements."""
    new = np.empty_like(array)
    if new.size and new.strides != array.strides:
        extent = 1 + sum((size - 1) * stride // array.itemsize for size, stride in zip(array.shape, array.strides))
        new = np.lib.stride_tricks.as_strided(np.empty(extent, array.dtype), array.shape, array.strides)
    return new


def per_channel(name: str, array: Any, channels: int, dtype: type = np.float32) -> Optional[int]:
    """The address of an array of one value per channel; None stays None."""
    if array is None:
        return None
    if not isinstance(array, np.ndarray) or array.dtype != dtype or not array.flags.c_contiguous:
        raise TypeError(f"{name}: not a contiguous array of {np.dtype(dtype)}")
    if array.size != channels:
        raise ValueError(f"{name}: {array.size} values for {channels} channels")
    return array.ctypes.data


def writable(name: str, array: Optional[np.ndarray]) -> None:
    if array is not None and not array.flags.writeable:
        raise ValueError(f"{name}: read-only")
