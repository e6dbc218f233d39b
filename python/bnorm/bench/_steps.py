# SPDX-License-Identifier: MIT
"""Variants of a model that take steps in turns, and what the steps took."""

import contextlib
import copy
import statistics
import time
from typing import Callable, ContextManager, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.profiler_util import FunctionEvent
from torch.nn import functional

import bnorm.torch

from .models import MODELS

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
VARIANTS = ("stock", "converted", "enabled")
COMPILED = ("inductor", "bnorm")  # the backends they are named after


class Setting(NamedTuple):
    """What a row is about."""

    model: str
    layout: str
    dtype: str
    mode: str


class Quartiles(NamedTuple):
    first: float
    median: float
    third: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quartiles":
        return cls(*(statistics.quantiles(values, method="inclusive") if len(values) > 1 else 3 * [values[0]]))


@contextlib.contextmanager
def _enabled() -> Iterator[None]:
    bnorm.torch.enable()
    try:
        yield
    finally:
        bnorm.torch.disable()


class Variant:
    """A copy of a model, and how its steps are taken."""

    def __init__(self, name: str, base: nn.Module, setting: Setting) -> None:
        model = copy.deepcopy(base)
        if name == "converted":
            model = bnorm.torch.convert(model)
        elif name in COMPILED:
            model = torch.compile(model, backend=name)
        self.training = setting.mode == "train"
        self.model = model.train(self.training)
        # Small steps, as training amplifies roundings: with large ones losses part after a few, in float64 just as well.
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
        self.low = setting.dtype == "bf16"
        self.around: Callable[[], ContextManager[None]] = _enabled if name == "enabled" else contextlib.nullcontext

    def _forward(self, x: Tensor, target: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            return functional.cross_entropy(self.model(x).float(), target)

    def gradients(self, x: Tensor, target: Tensor) -> Tensor:
        """A step without that of the optimizer; returns the loss."""
        with torch.set_grad_enabled(self.training):
            loss = self._forward(x, target)
        if self.training:
            self.optimizer.zero_grad()
            loss.backward()
        return loss

    def step(self, x: Tensor, target: Tensor) -> Tuple[float, float]:
        """Its milliseconds and its loss."""
        with self.around():
            start = time.perf_counter()
            loss = self.gradients(x, target)
            if self.training:
                self.optimizer.step()
            return 1e3 * (time.perf_counter() - start), loss.item()


class Bench:
    """The variants of a setting, from the same weights, and the batches that they all are given."""

    def __init__(self, setting: Setting, names: Sequence[str], batch: int = 0) -> None:
        torch.manual_seed(1)
        torch.compiler.reset()
        made, shape = MODELS[setting.model]
        self.shape = (batch or shape[0], *shape[1:])
        self.layout = LAYOUTS[len(shape)] if setting.layout == "channels_last" else torch.contiguous_format
        base = made().to(memory_format=self.layout)
        self.outputs = self._settle(base)
        self.variants = {name: Variant(name, base, setting) for name in names}

    def _inputs(self) -> Tensor:
        return torch.randn(self.shape).contiguous(memory_format=self.layout)

    def _settle(self, base: nn.Module) -> torch.Size:
        """Gives running statistics those of a batch, as after training; returns the shape of outputs."""
        norms = [module for module in base.modules() if hasattr(module, "running_mean")]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            outputs = base(self._inputs()).shape
        for norm in norms:
            norm.momentum = 0.1
        return outputs

    def batches(self, count: int) -> Iterator[Tuple[Tensor, Tensor]]:
        for _ in range(count):
            yield self._inputs(), torch.randint(self.outputs[1], (self.outputs[0], *self.outputs[2:]))

    def run(self, rounds: int) -> Tuple[Dict[str, List[float]], Dict[str, float]]:
        """The milliseconds of each round after the first, and last losses, by variant. Each round another one begins."""
        times: Dict[str, List[float]] = {name: [] for name in self.variants}
        losses: Dict[str, float] = {}
        names = list(self.variants)
        for x, target in self.batches(1 + rounds):
            for name in names:
                ms, losses[name] = self.variants[name].step(x, target)
                times[name].append(ms)
            names.append(names.pop(0))
        return {name: values[1:] for name, values in times.items()}, losses


# ---- The time in batch norm ----

# Events of operators and of their gradients, as the profiler names them: batch norm and activations.
_COUNTED = {"aten::batch_norm", "NativeBatchNormBackward0", "bnorm::forward", "_BatchNorm", "_BatchNormBackward",
            "aten::relu", "aten::relu_", "ReluBackward0", "aten::hardtanh", "aten::hardtanh_", "HardtanhBackward0",
            "aten::silu", "aten::silu_", "SiluBackward0"}
_ADDITIONS = {"aten::add", "aten::add_"}  # those of the model; gradients are added up within other events


def _microseconds(event: FunctionEvent) -> float:
    """The time in counted events among an event and what it consists of."""
    return event.cpu_time_total if event.name in _COUNTED else sum(map(_microseconds, event.cpu_children))


def profile(bench: Bench, rounds: int) -> Dict[str, Quartiles]:
    """Milliseconds a step in batch norm, forward and backward, with activations and additions, of stock and converted."""
    shares: Dict[str, List[float]] = {"stock": [], "converted": []}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for x, target in bench.batches(rounds):
            for name in shares:
                with torch.profiler.record_function(name):
                    bench.variants[name].gradients(x, target)
    for step in profiler.events():
        if step.name in shares:
            shares[step.name].append(1e-3 * sum(part.cpu_time_total if part.name in _ADDITIONS else _microseconds(part)
                                                for part in step.cpu_children))
    return {name: Quartiles.of(values) for name, values in shares.items()}
