# SPDX-License-Identifier: MIT
"""PyTorch models whose batch norm runs through bnorm, on PyTorch's own threads.

    model = bnorm.torch.convert(model)                # its modules, with what follows them fused
    model = torch.compile(model, backend="bnorm")     # the same in a compiled model
    bnorm.torch.enable()                              # every batch norm of the process, unfused

What the library does not take (other devices, float64, transforms of functions, forward-mode gradients) runs in PyTorch as
before.
"""

from ._compile import compile_with_bnorm
from ._convert import convert
from ._modules import BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm
from ._ops import batch_norm
from ._override import disable, enable

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", "batch_norm", "compile_with_bnorm", "convert",
           "disable", "enable"]
