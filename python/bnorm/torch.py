# SPDX-License-Identifier: MIT
"""PyTorch models that run their batch norm through bnorm, on PyTorch's own threads.

    model = bnorm.torch.convert(model)

What the library does not take (other devices, float64, torch.compile, transforms of functions) runs in PyTorch as before.
"""

import ctypes
import functools
import operator
import pathlib
import warnings
from typing import Any, Dict, NamedTuple, Optional, Tuple

import torch
from torch import nn

from . import _abi
from ._abi import call, library, size_of
from ._arrays import point_stride

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "batch_norm", "convert"]

MASKED = ("relu", "clamp", "leaky_relu")  # of which a bit per element tells the slope
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


# ---- Threads ----

_libtorch = ctypes.CDLL(str(next(pathlib.Path(torch.__file__).parent.glob("lib/libtorch_cpu.*"))))
if not hasattr(_libtorch, "torch_parallel_for"):
    raise ImportError(f"bnorm.torch needs PyTorch 2.10 or newer, and this is {torch.__version__}")
_parallel_for = ctypes.c_void_p(ctypes.cast(_libtorch.torch_parallel_for, ctypes.c_void_p).value)
_run = ctypes.cast(library.bnorm_run_on_torch, _abi.Run)


@functools.lru_cache(maxsize=None)
def _executor(threads: int) -> Optional[_abi.Executor]:
    if threads == 1:
        return None
    return _abi.Executor(_run, ctypes.cast(ctypes.pointer(_parallel_for), ctypes.c_void_p), threads)


# ---- Shapes ----


class _Lie(NamedTuple):
    """How a tensor lies: strides of images, channels and points."""

    image: int
    channel: int
    point: int


def _lie(sizes: Tuple[int, ...], strides: Tuple[int, ...]) -> Optional[_Lie]:
    point = point_stride(sizes[2:], strides[2:])
    image, channel = (stride if size > 1 else 0 for size, stride in zip(sizes[:2], strides[:2]))
    if point is None or any(size > 1 and stride == 0 for size, stride in zip(sizes, strides)):
        return None
    return _Lie(image, channel, point)


@functools.lru_cache(maxsize=4096)
def _shape(sizes: Tuple[int, ...], x: Tuple[int, ...], y: Tuple[int, ...], x_type: torch.dtype,
           y_type: torch.dtype) -> Optional[_abi.Shape]:
    """That of two tensors of equal sizes and these strides; None where the library cannot take them."""
    lies = _lie(sizes, x), _lie(sizes, y)
    if None in lies:
        return None
    points = 1
    for size in sizes[2:]:
        points *= size
    adjacent = sizes[1] > 1 and lies[0].channel == lies[1].channel == 1
    layouts = (_abi.Layout(DTYPES[dtype], lie.image, 0 if adjacent else lie.channel, lie.point)
               for lie, dtype in zip(lies, (x_type, y_type)))
    return _abi.Shape(batch=sizes[0], channels=sizes[1], points=points, block=sizes[1] if adjacent else 1,
                      in_=next(layouts), out=next(layouts))


def _shape_of(x: torch.Tensor, y: torch.Tensor) -> Optional[_abi.Shape]:
    return _shape(x.shape, x.stride(), y.stride(), x.dtype, y.dtype)


@functools.lru_cache(maxsize=4096)
def _workspace_size(sizes: Tuple[int, ...], x: Tuple[int, ...], y: Tuple[int, ...], x_type: torch.dtype,
                    y_type: torch.dtype, operation: int, threads: int) -> int:
    return size_of("bnorm_workspace_size", _shape(sizes, x, y, x_type, y_type), operation, _executor(threads))


def _workspace(x: torch.Tensor, y: torch.Tensor, operation: int, threads: int) -> Tuple[torch.Tensor, int, int]:
    size = _workspace_size(x.shape, x.stride(), y.stride(), x.dtype, y.dtype, operation, threads)
    memory = torch.empty(max(size, 1), dtype=torch.uint8)
    return memory, memory.data_ptr(), size


def _address(tensor: Optional[torch.Tensor]) -> Optional[int]:
    return None if tensor is None else tensor.data_ptr()


# ---- The operator ----


class _Activation(NamedTuple):
    name: str = "identity"
    alpha: float = 0.0
    beta: float = 0.0

    def epilogue(self, residual: Optional[torch.Tensor] = None, mask: Optional[torch.Tensor] = None) -> Any:
        if self.name == "identity" and residual is None:
            return None
        return ctypes.pointer(_abi.Epilogue(activation=_abi.ACTIVATIONS.index(self.name), alpha=self.alpha, beta=self.beta,
                                            residual=_address(residual), mask=_address(mask)))


class _Call(NamedTuple):
    """What a call is made of, beside its tensors."""

    training: bool
    momentum: float
    epsilon: float
    activation: _Activation


def _forward(x: torch.Tensor, residual: Optional[torch.Tensor], weight: Optional[torch.Tensor],
             bias: Optional[torch.Tensor], mean: Optional[torch.Tensor], var: Optional[torch.Tensor], how: _Call,
             mask: Optional[torch.Tensor] = None) -> Tuple[torch.Tensor, Tuple[torch.Tensor, ...]]:
    """y, and of training the mean in two floats and rstd."""
    y = torch.empty_like(x)
    if residual is not None and residual.stride() != y.stride():
        residual = torch.empty_like(y).copy_(residual)
    shape, threads = _shape_of(x, y), torch.get_num_threads()
    epilogue = how.activation.epilogue(residual, mask)
    parameters = {"gamma": _address(weight), "beta": _address(bias), "epsilon": how.epsilon, "epilogue": epilogue}
    if not how.training:
        params = _abi.InferParams(mean=mean.data_ptr(), var=var.data_ptr(), **parameters)
        call("bnorm_infer", shape, params, x.data_ptr(), y.data_ptr(), _executor(threads))
        return y, ()
    saved = tuple(torch.empty(3, x.shape[1]))
    params = _abi.TrainParams(momentum=how.momentum, running_mean=_address(mean), running_var=_address(var),
                              saved_mean=saved[0].data_ptr(), saved_mean_low=saved[1].data_ptr(),
                              saved_rstd=saved[2].data_ptr(), **parameters)
    _memory, *workspace = _workspace(x, y, _abi.OP_TRAIN, threads)
    call("bnorm_train", shape, params, x.data_ptr(), y.data_ptr(), *workspace, _executor(threads))
    return y, saved


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, residual, weight, bias, mean, var, how):
        mask = None
        if residual is not None and how.activation.name in MASKED:
            shape = _shape_of(x, torch.empty_like(x))
            mask = torch.zeros(size_of("bnorm_mask_size", shape), dtype=torch.uint8)
        y, saved = _forward(x, residual, weight, bias, mean, var, how, mask)
        ctx.how, ctx.y_stride = how, y.stride()
        # What eval mode normalised by may be trained meanwhile.
        ctx.save_for_backward(x, weight, bias, mask, *(saved or (mean.clone(), var.clone())))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        x, weight, bias, mask, *saved = ctx.saved_tensors
        wanted_x, wanted_residual, wanted_weight, wanted_bias, *_ = ctx.needs_input_grad
        if dy.stride() != ctx.y_stride:  # as y is laid out, which is as fast as it gets, and how a mask counts
            dy = torch.empty_strided(dy.shape, ctx.y_stride, dtype=dy.dtype).copy_(dy)
        dx = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype) if wanted_x else None
        dresidual = torch.empty_like(dy) if wanted_residual else None
        dweight = torch.empty_like(weight) if wanted_weight else None
        dbias = torch.empty_like(bias) if wanted_bias else None
        frozen, threads = not ctx.how.training, torch.get_num_threads()
        params = _abi.BackwardParams(
            statistics=int(frozen), epilogue=ctx.how.activation.epilogue(None, mask), gamma=_address(weight),
            beta=_address(bias), mean=saved[0].data_ptr(), mean_low=None if frozen else saved[1].data_ptr(),
            rstd=None if frozen else saved[2].data_ptr(), var=saved[1].data_ptr() if frozen else None,
            epsilon=ctx.how.epsilon, dgamma=_address(dweight), dbeta=_address(dbias), dresidual=_address(dresidual))
        _memory, *workspace = _workspace(x, dy, _abi.OP_BACKWARD, threads)
        call("bnorm_backward", _shape_of(x, dy), params, x.data_ptr(), dy.data_ptr(), _address(dx), *workspace,
             _executor(threads))
        return dx, dresidual, dweight, dbias, None, None, None


def _is_taken(x: torch.Tensor, *parameters: Optional[torch.Tensor]) -> bool:
    """Whether the library runs this: plain tensors on the CPU, of its types, that lie as it can describe."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or type(x) not in (torch.Tensor, nn.Parameter):
        return False
    if x.device.type != "cpu" or x.dtype not in DTYPES or x.dim() < 2 or x.numel() == 0 or x.layout != torch.strided:
        return False
    if torch._C._functorch.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0:
        return False
    if any(p is not None and (p.dtype != torch.float32 or not p.is_contiguous()) for p in parameters):
        return False
    return _shape(x.shape, x.stride(), x.stride(), x.dtype, x.dtype) is not None


def _is_fused(x: torch.Tensor, residual: Optional[torch.Tensor], activation: _Activation) -> bool:
    if residual is None:
        return True
    return (residual.shape == x.shape and residual.dtype == x.dtype and residual.device == x.device
            and activation.name in ("identity", *MASKED))


def batch_norm(x: torch.Tensor, running_mean: Optional[torch.Tensor], running_var: Optional[torch.Tensor],
               weight: Optional[torch.Tensor] = None, bias: Optional[torch.Tensor] = None, training: bool = False,
               momentum: float = 0.1, eps: float = 1e-5, *, activation: _Activation = _Activation(),
               residual: Optional[torch.Tensor] = None) -> torch.Tensor:
    """Is torch.nn.functional.batch_norm, then activation(... + residual). What it does not take is PyTorch's to compute."""
    if not _is_taken(x, running_mean, running_var, weight, bias) or not _is_fused(x, residual, activation) or (
            training and x.numel() == x.shape[1]):  # of which PyTorch says that it is an error
        y = nn.functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        return _ACTIVATIONS[activation.name](y if residual is None else y + residual, activation)
    how = _Call(training, momentum, eps, activation)
    tensors = x, residual, weight, bias
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors):
        return _BatchNorm.apply(*tensors, running_mean, running_var, how)
    return _forward(*tensors, running_mean, running_var, how)[0]


_ACTIVATIONS = {
    "identity": lambda y, a: y,
    "relu": lambda y, a: nn.functional.relu(y),
    "clamp": lambda y, a: torch.clamp(y, a.alpha, a.beta),
    "leaky_relu": lambda y, a: nn.functional.leaky_relu(y, a.alpha),
    "hard_swish": lambda y, a: nn.functional.hardswish(y),
}


# ---- Modules ----


class _Mixin:
    """A BatchNorm of PyTorch with the same parameters and buffers, whose forward pass is batch_norm()."""

    activation = _Activation()

    def forward(self, input, residual=None):
        self._check_input_dim(input)
        factor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                factor = 1.0 / float(self.num_batches_tracked)
        training = self.training or self.running_mean is None
        kept = not self.training or self.track_running_stats
        return batch_norm(input, self.running_mean if kept else None, self.running_var if kept else None, self.weight,
                          self.bias, training, factor, self.eps, activation=self.activation, residual=residual)


class BatchNorm1d(_Mixin, nn.BatchNorm1d):
    """torch.nn.BatchNorm1d through bnorm."""


class BatchNorm2d(_Mixin, nn.BatchNorm2d):
    """torch.nn.BatchNorm2d through bnorm."""


class BatchNorm3d(_Mixin, nn.BatchNorm3d):
    """torch.nn.BatchNorm3d through bnorm."""


_CLASSES = {nn.BatchNorm1d: BatchNorm1d, nn.BatchNorm2d: BatchNorm2d, nn.BatchNorm3d: BatchNorm3d}


def _activation_of(node: "torch.fx.Node", modules: Dict[str, nn.Module]) -> Optional[_Activation]:
    """What a node of a graph activates, if the library can fuse it."""
    module = modules.get(node.target) if node.op == "call_module" else None
    if type(module) is nn.ReLU or (node.op == "call_function" and node.target in (torch.relu, nn.functional.relu)):
        return _Activation("relu")
    if node.op == "call_method" and node.target in ("relu", "relu_"):
        return _Activation("relu")
    if type(module) is nn.ReLU6 or (node.op == "call_function" and node.target is nn.functional.relu6):
        return _Activation("clamp", 0.0, 6.0)
    if type(module) is nn.LeakyReLU:
        return _Activation("leaky_relu", module.negative_slope)
    if type(module) is nn.Hardswish or (node.op == "call_function" and node.target is nn.functional.hardswish):
        return _Activation("hard_swish")
    return None


def _is_add(node: "torch.fx.Node") -> bool:
    return (node.op == "call_function" and node.target in (operator.add, operator.iadd, torch.add) and len(node.args) == 2
            and not node.kwargs)


def _fuse(graph: "torch.fx.Graph", modules: Dict[str, nn.Module]) -> None:
    """Makes batch norms do the activation behind them, or the addition and the activation."""
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in list(graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, _Mixin) or calls.count(node.target) != 1 or len(node.users) != 1:
            continue
        last = user = next(iter(node.users))
        residual = None
        if _is_add(user) and len(user.users) == 1:
            residual = user.args[1] if user.args[0] is node else user.args[0]
            last = next(iter(user.users))
        activation = _activation_of(last, modules)
        masked = residual is None or (activation is not None and activation.name in MASKED)
        if activation is None or not masked or residual is node or not isinstance(residual, (type(None), torch.fx.Node)):
            continue
        norm.activation = activation
        with graph.inserting_before(last):  # where the residual is known
            fused = graph.call_module(node.target, (node.args[0], residual) if residual else (node.args[0],))
        last.replace_all_uses_with(fused)
        for gone in (last, user, node):
            if not gone.users and gone in graph.nodes and gone is not fused:
                graph.erase_node(gone)


def _swap(model: nn.Module) -> None:
    for module in model.modules():
        if type(module) in _CLASSES:
            module.__class__ = _CLASSES[type(module)]


class _Tracer(torch.fx.Tracer):
    def is_leaf_module(self, module, name):
        return isinstance(module, _Mixin) or super().is_leaf_module(module, name)


def convert(model: nn.Module, fuse: bool = True) -> nn.Module:
    """Has a model run its BatchNorm1d, 2d and 3d through bnorm, in training and evaluation; its state_dict stays as it is.

    With `fuse`, ReLU, ReLU6, LeakyReLU and Hardswish behind a batch norm, and additions before ReLU, become a part of it:
    that takes a graph of the model, which is returned. A model that torch.fx cannot trace is returned itself, with a warning.
    """
    _swap(model)
    if not fuse:
        return model
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # whatever the model's own code raises for a proxy
        warnings.warn(f"bnorm: nothing is fused, as torch.fx cannot trace {type(model).__name__}: {error}", stacklevel=2)
        return model
    _fuse(graph, dict(model.named_modules()))
    graph.lint()
    fused = torch.fx.GraphModule(model, graph, type(model).__name__)
    fused.train(model.training)
    return fused
