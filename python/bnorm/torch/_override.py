# SPDX-License-Identifier: MIT
"""PyTorch's own batch norm on CPUs, for programs that are not changed."""

import warnings
from typing import Optional

import torch

from . import _ops  # noqa: F401 (registers the operators)

_overrides: Optional[torch.library.Library] = None


def enable() -> None:
    """Has every batch norm of the process run through bnorm, on CPUs and outside of torch.compile, without fusing.

    It replaces PyTorch's kernels of native_batch_norm and native_batch_norm_backward, as another package may, too: the last one
    wins. What the library does not take goes on to PyTorch's own.
    """
    global _overrides
    if _overrides is not None:
        return
    _overrides = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*[Oo]verriding a previously registered kernel")
        _overrides.impl("native_batch_norm", torch.ops.bnorm.native_batch_norm.default, "CPU")
        _overrides.impl("native_batch_norm_backward", torch.ops.bnorm.native_batch_norm_backward.default, "CPU")


def disable() -> None:
    """Undoes enable()."""
    global _overrides
    if _overrides is not None:
        _overrides._destroy()
        _overrides = None
