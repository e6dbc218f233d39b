# SPDX-License-Identifier: MIT
"""What the library can take along with a batch norm, found in a graph of torch.fx."""

import operator
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional

import torch
import torch.fx
from torch import nn
from torch.nn import functional

from . import _ops

# As batch_norm()'s `activation`: of functions, by their arguments after the first. None of them needs an exponential.
_FUNCTIONS: Dict[Any, Callable[..., Any]] = {
    functional.relu: lambda inplace=False: "relu",
    functional.relu6: lambda inplace=False: ("clamp", 0, 6),
    functional.hardtanh: lambda min_val=-1.0, max_val=1.0, inplace=False: ("clamp", min_val, max_val),
    functional.leaky_relu: lambda negative_slope=0.01, inplace=False: ("leaky_relu", negative_slope),
    functional.hardsigmoid: lambda inplace=False: ("hard_sigmoid", 1 / 6, 1 / 2),
    functional.hardswish: lambda inplace=False: "hard_swish",
    torch.relu: lambda: "relu",
    torch.relu_: lambda: "relu",
}
_METHODS = {"relu": "relu", "relu_": "relu"}
_MODULES: Dict[type, Callable[[Any], Any]] = {
    nn.ReLU: lambda m: "relu",
    nn.ReLU6: lambda m: ("clamp", 0, 6),
    nn.Hardtanh: lambda m: ("clamp", m.min_val, m.max_val),
    nn.LeakyReLU: lambda m: ("leaky_relu", m.negative_slope),
    nn.Hardsigmoid: lambda m: ("hard_sigmoid", 1 / 6, 1 / 2),
    nn.Hardswish: lambda m: "hard_swish",
}


class Match(NamedTuple):
    """A batch norm and what is taken along: `activation` of its node and, maybe, of a residual that is added to it."""

    norm: torch.fx.Node
    added: Optional[torch.fx.Node]
    residual: Optional[torch.fx.Node]
    activated: torch.fx.Node
    activation: _ops.Activation

    def replace(self, fused: torch.fx.Node) -> None:
        """Puts a node in the place of all of them."""
        fused.meta = dict(self.activated.meta)
        self.activated.replace_all_uses_with(fused)
        for node in (self.activated, self.added, self.norm):
            if node is not None:
                node.graph.erase_node(node)


def _activation_of(node: torch.fx.Node, modules: Dict[str, nn.Module]) -> Optional[_ops.Activation]:
    given = None
    if node.op == "call_function" and node.target in _FUNCTIONS:
        given = _FUNCTIONS[node.target](*node.args[1:], **node.kwargs)
    elif node.op == "call_method" and node.target in _METHODS:
        given = _METHODS[node.target]
    elif node.op == "call_module" and type(modules.get(str(node.target))) in _MODULES:
        module = modules[str(node.target)]
        given = _MODULES[type(module)](module)
    return None if given is None else _ops.activation_of(given)


def _is_add(node: torch.fx.Node) -> bool:
    function = node.op == "call_function" and node.target in (operator.add, operator.iadd, torch.add)
    method = node.op == "call_method" and node.target in ("add", "add_")
    return ((function or method) and len(node.args) == 2 and not node.kwargs and node.args[0] is not node.args[1]
            and all(isinstance(term, torch.fx.Node) for term in node.args))


def matches(graph: torch.fx.Graph, modules: Dict[str, nn.Module], is_norm: Callable[[torch.fx.Node], bool]) -> Iterator[Match]:
    """Each may be replaced before the next is asked for."""
    for norm in list(graph.nodes):
        if not is_norm(norm) or len(norm.users) != 1:
            continue
        added = residual = None
        activated = next(iter(norm.users))
        # The batch norm moves to where the residual is known, and nobody may write to its input in between.
        if _is_add(activated) and len(activated.users) == 1 and len(norm.args[0].users) == 1:
            added, activated = activated, next(iter(activated.users))
            residual = added.args[1] if added.args[0] is norm else added.args[0]
        activation = _activation_of(activated, modules)
        if activation is not None and _ops.is_fused(activation, residual is not None):
            yield Match(norm, added, residual, activated, activation)
