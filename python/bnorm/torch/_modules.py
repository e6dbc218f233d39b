# SPDX-License-Identifier: MIT
"""PyTorch's modules with the same parameters and buffers, whose forward pass is the library's."""

from typing import Any, Dict, Optional

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from . import _ops


class _Mixin(_BatchNorm):
    activation = _ops.IDENTITY

    def _advance(self) -> float:
        """Counts a batch; returns what it weighs in running statistics."""
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        return factor

    def forward(self, input: Tensor, residual: Optional[Tensor] = None) -> Tensor:
        self._check_input_dim(input)
        factor = self._advance()
        training = self.training or (self.running_mean is None and self.running_var is None)
        kept = not self.training or self.track_running_stats
        return _ops.run(input, self.running_mean if kept else None, self.running_var if kept else None, self.weight,
                        self.bias, training, factor, self.eps, self.activation, residual)


class BatchNorm1d(_Mixin, nn.BatchNorm1d):
    """torch.nn.BatchNorm1d through bnorm."""


class BatchNorm2d(_Mixin, nn.BatchNorm2d):
    """torch.nn.BatchNorm2d through bnorm."""


class BatchNorm3d(_Mixin, nn.BatchNorm3d):
    """torch.nn.BatchNorm3d through bnorm."""


# ---- Batches that processes share ----


def _gather(tensor: Tensor, group: Any) -> Tensor:
    """That of each process, stacked in their order."""
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size(group))]
    torch.distributed.all_gather(parts, tensor, group=group)
    return torch.stack(parts)


class _Synchronised(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, mean, var, momentum, eps, group):
        count = x.numel() // x.shape[1]
        mine = torch.cat([torch.ops.bnorm.train_collect(x).flatten(), torch.tensor([count], dtype=torch.float64)])
        parts = _gather(mine, group)  # counts below 2^53 are exact
        counts, moments = parts[:, -1].long(), parts[:, :-1].reshape(len(parts), 2, -1).contiguous()
        ctx.total, ctx.group = int(counts.sum()), group
        if ctx.total == 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.size()}")
        saved = torch.ops.bnorm.train_finish(moments, counts, mean, var, momentum, eps)
        ctx.save_for_backward(x, weight, saved)
        return torch.ops.bnorm.train_apply(x, weight, bias, saved, eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        x, weight, saved = ctx.saved_tensors
        mine = torch.ops.bnorm.backward_reduce(dy, x, saved)
        parts = _gather(mine, ctx.group)
        sums = parts[0].clone()
        for part in parts[1:]:  # in the order of processes, whatever the transport
            sums += part
        wants_x, wants_weight, wants_bias, *_ = ctx.needs_input_grad
        dx = torch.ops.bnorm.backward_apply(dy, x, weight, saved, sums, ctx.total) if wants_x else None
        # Those of parameters are of this process alone, as DistributedDataParallel adds them up.
        dweight = ((mine[2] - saved[1] * mine[0]) * saved[2]).to(weight.dtype) if wants_weight else None
        return dx, dweight, mine[0].to(weight.dtype) if wants_bias else None, *(None,) * 5


class SyncBatchNorm(_Mixin, nn.SyncBatchNorm):
    """torch.nn.SyncBatchNorm on CPUs too, over torch.distributed (gloo): statistics are those of all processes' values."""

    def forward(self, input: Tensor, residual: Optional[Tensor] = None) -> Tensor:
        group = self.process_group or (torch.distributed.group.WORLD if torch.distributed.is_initialized() else None)
        shared = self.training and group is not None and torch.distributed.get_world_size(group) > 1
        if input.device.type != "cpu" or (shared and input.dtype not in _ops.DTYPES):
            return nn.SyncBatchNorm.forward(self, input)
        if not shared:
            return super().forward(input, residual)
        self._check_input_dim(input)
        self._check_non_zero_input_channels(input)
        return _Synchronised.apply(input, self.weight, self.bias, self.running_mean, self.running_var, self._advance(),
                                   self.eps, group)


COUNTERPARTS: Dict[type, type] = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d, nn.BatchNorm3d: BatchNorm3d,
                nn.SyncBatchNorm: SyncBatchNorm}
