# SPDX-License-Identifier: MIT
"""PyTorch's own cases of batch norm, which its wheel has, with bnorm in its place: values and gradients, against float64."""

import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest", reason="PyTorch's cases need it")

import bnorm.torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402

OPERATORS = {"nn.functional.batch_norm", "native_batch_norm"}
MODULES = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}


def operator_cases():
    torch.manual_seed(6)
    for op in op_db:
        if op.name in OPERATORS:
            for i, sample in enumerate(op.sample_inputs("cpu", torch.float32, requires_grad=True)):
                yield pytest.param(op.op, sample, id=f"{op.name}-{i}")


def module_cases():
    torch.manual_seed(7)
    for info in module_db:
        if info.module_cls in MODULES:
            for training in (True, False):
                cases = info.module_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=True, training=training)
                for i, case in enumerate(cases):
                    yield pytest.param(info.module_cls, case, training, id=f"{info.name}-{training}-{i}")


def derived(function, inputs):
    """What a function gives, and its gradients."""
    outputs = [y for y in torch.utils._pytree.tree_leaves(function()) if isinstance(y, torch.Tensor)]
    wanted = [t for t in inputs if isinstance(t, torch.Tensor) and t.requires_grad]
    torch.manual_seed(8)
    total = sum((y * torch.randn_like(y, dtype=torch.float32)).sum() for y in outputs if y.requires_grad)
    return [*outputs, *(torch.autograd.grad(total, wanted, allow_unused=True) if wanted else ())]


def check(ours, exact):
    assert len(ours) == len(exact)
    for value, right in zip(ours, exact):
        if value is not None and right is not None:
            torch.testing.assert_close(value.double(), right.double(), rtol=1e-4, atol=1e-4)


@pytest.fixture
def enabled():
    bnorm.torch.enable()
    yield
    bnorm.torch.disable()


@pytest.mark.parametrize("function, sample", operator_cases())
def test_operators(enabled, function, sample):
    def outcome(dtype):
        mine = sample.transform(lambda t: t.detach().clone().to(dtype).requires_grad_(t.requires_grad)
                                if isinstance(t, torch.Tensor) else t)
        return derived(lambda: function(mine.input, *mine.args, **mine.kwargs), (mine.input, *mine.args, *mine.kwargs.values()))
    check(outcome(torch.float32), outcome(torch.float64))


@pytest.mark.parametrize("module, case, training", module_cases())
def test_modules(module, case, training):
    def outcome(dtype, change):
        made = case.constructor_input
        norm = change(module(*made.args, **made.kwargs).train(training)).to(dtype)
        x, = (t.detach().clone().to(dtype).requires_grad_() for t in case.forward_input.args)
        return derived(lambda: norm(x), (x, *norm.parameters())) + [b.detach() for b in norm.buffers()]
    right = outcome(torch.float64, copy.copy)
    check(outcome(torch.float32, bnorm.torch.convert), right)
    bnorm.torch.enable()
    try:
        check(outcome(torch.float32, copy.copy), right)
    finally:
        bnorm.torch.disable()
