# SPDX-License-Identifier: MIT
"""Models made of PyTorch's modules."""

import warnings

import torch.fx
from torch import nn

from ._modules import COUNTERPARTS, SyncBatchNorm, _Mixin
from ._patterns import matches


class _Tracer(torch.fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, _Mixin) or super().is_leaf_module(module, name)


def _fuse(graph: torch.fx.Graph, model: nn.Module) -> None:
    modules = dict(model.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]

    def is_norm(node: torch.fx.Node) -> bool:
        norm = modules.get(str(node.target)) if node.op == "call_module" else None
        return isinstance(norm, _Mixin) and not isinstance(norm, SyncBatchNorm) and calls.count(node.target) == 1

    for match in matches(graph, modules, is_norm):
        name = str(match.norm.target)
        setattr(modules[name], "activation", match.activation)
        with graph.inserting_before(match.added or match.activated):
            inputs = (match.norm.args[0],) if match.residual is None else (match.norm.args[0], match.residual)
            match.replace(graph.call_module(name, inputs))


def convert(model: nn.Module, fuse: bool = True) -> nn.Module:
    """Has a model run its BatchNorm1d, 2d, 3d and SyncBatchNorm through bnorm, in training and evaluation, in place.

    Its state_dict stays as it is. With `fuse`, an activation behind a batch norm, and an addition before one that tells its slope
    by its sign or bounds, become a part of it: that takes a graph of the model, which is returned. A model that torch.fx cannot
    trace is returned itself, unfused, with a warning that says so.
    """
    for module in model.modules():
        module.__class__ = COUNTERPARTS.get(type(module), type(module))
    if not fuse:
        return model
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # whatever the model's own code raises for a proxy
        warnings.warn(f"bnorm: nothing is fused, as torch.fx cannot trace {type(model).__name__}: {error}", stacklevel=2)
        return model
    _fuse(graph, model)
    graph.lint()
    fused = torch.fx.GraphModule(model, graph, type(model).__name__)
    fused.train(model.training)
    return fused
