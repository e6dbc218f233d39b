# SPDX-License-Identifier: MIT
"""Compiled models: torch.compile(model, backend="bnorm")."""

import inspect
from typing import Any, List

import torch
import torch.fx
from torch.nn import functional

from . import _ops
from ._patterns import matches

_SIGNATURE = inspect.signature(functional.batch_norm)


def _arguments(node: torch.fx.Node) -> dict:
    bound = _SIGNATURE.bind(*node.args, **node.kwargs)
    bound.apply_defaults()
    return bound.arguments


def _value(node: Any) -> Any:
    return node.meta.get("example_value") if isinstance(node, torch.fx.Node) else None


def _is_taken(node: torch.fx.Node) -> bool:
    """A batch norm in training; that of evaluation the compiler fuses with more than its neighbours."""
    if node.op != "call_function" or node.target is not functional.batch_norm:
        return False
    arguments = _arguments(node)
    x = _value(arguments["input"])
    return (arguments["training"] is True and isinstance(x, torch.Tensor) and x.device.type == "cpu" and x.dim() >= 2
            and x.dtype in _ops.DTYPES and 0.0 <= arguments["momentum"] <= 1.0 and arguments["eps"] >= 0.0)


def _replacement(node: torch.fx.Node, residual: Any, activation: _ops.Activation) -> torch.fx.Node:
    a = _arguments(node)
    return node.graph.call_function(torch.ops.bnorm.batch_norm.default, (
        a["input"], residual, a["weight"], a["bias"], a["running_mean"], a["running_var"], True, a["momentum"], False,
        a["eps"], *activation))


def rewrite(graph: torch.fx.Graph) -> None:
    """Has the batch norms of training in a graph of Dynamo's, and what can be fused with them, run through bnorm."""
    for match in matches(graph, {}, _is_taken):
        x, residual = _value(_arguments(match.norm)["input"]), _value(match.residual)
        if match.residual is None or (isinstance(residual, torch.Tensor) and residual.shape == x.shape
                                      and residual.dtype == x.dtype):
            with graph.inserting_before(match.added or match.activated):
                match.replace(_replacement(match.norm, match.residual, match.activation))
    for node in list(graph.nodes):
        if _is_taken(node):
            with graph.inserting_before(node):
                alone = _replacement(node, None, _ops.IDENTITY)
            alone.meta = dict(node.meta)
            node.replace_all_uses_with(alone)
            graph.erase_node(node)
    graph.lint()


def compile_with_bnorm(module: torch.fx.GraphModule, inputs: List[torch.Tensor], **options: Any) -> Any:
    """The backend "bnorm" of torch.compile: rewrites a graph, and leaves the rest to inductor."""
    rewrite(module.graph)
    module.recompile()
    return torch._dynamo.lookup_backend("inductor")(module, inputs, **options)
