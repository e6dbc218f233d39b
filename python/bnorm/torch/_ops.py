# SPDX-License-Identifier: MIT
"""The library's operators (python/torch.cpp) for PyTorch: shapes for its compiler, gradients, and batch_norm()."""

import ctypes
import math
import pathlib
from typing import Any, Optional, Sequence, Union

import torch
from torch import Tensor
from torch.nn import functional

from .. import _abi
from .._abi import Activation, activation_of


def _register() -> None:
    libtorch = ctypes.CDLL(str(next(pathlib.Path(torch.__file__).parent.glob("lib/libtorch_cpu.*"))))

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_char_p)
    def find(name: bytes) -> Optional[int]:
        function = getattr(libtorch, name.decode(), None)
        return function and ctypes.cast(function, ctypes.c_void_p).value

    _abi.library.bnorm_torch_register.restype = ctypes.c_char_p
    missing = _abi.library.bnorm_torch_register(find)
    if missing:
        raise ImportError(f"bnorm.torch needs PyTorch 2.10 or newer, and {torch.__version__} has no {missing.decode()}")


def _share_caches() -> None:
    """Leaves most of the largest cache to a model's other tensors: a step goes through all of them between two calls of a layer."""
    core, shared = ctypes.c_size_t(), ctypes.c_size_t()
    _abi.library.bnorm_cache_sizes(ctypes.byref(core), ctypes.byref(shared))
    _abi.library.bnorm_set_cache_sizes(core.value, max(core.value, shared.value // 4))


_register()
_share_caches()
_forward, _backward = torch.ops.bnorm.forward.default, torch.ops.bnorm.backward.default
_library = torch.library.Library("bnorm", "FRAGMENT")
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


# ---- Activations ----


IDENTITY = Activation()
_BY_TORCH = {
    "identity": lambda z, a: z,
    "relu": lambda z, a: functional.relu(z),
    "clamp": lambda z, a: torch.clamp(z, a.alpha, a.beta),
    "leaky_relu": lambda z, a: functional.leaky_relu(z, a.alpha),
    "hard_sigmoid": lambda z, a: torch.clamp(a.alpha * z + a.beta, 0, 1),
    "hard_swish": lambda z, a: functional.hardswish(z),
    "sigmoid": lambda z, a: torch.sigmoid(z),
    "silu": lambda z, a: functional.silu(z),
    "tanh": lambda z, a: torch.tanh(z),
    "gelu": lambda z, a: functional.gelu(z),
    "gelu_tanh": lambda z, a: functional.gelu(z, approximate="tanh"),
    "elu": lambda z, a: functional.elu(z, a.alpha),
    "softplus": lambda z, a: functional.softplus(z),
    "mish": lambda z, a: functional.mish(z),
}
_FUNCTIONS = [_BY_TORCH[name] for name in _abi.ACTIVATIONS]
_MASKED = [_abi.ACTIVATIONS.index(name) for name in ("relu", "clamp", "leaky_relu", "hard_sigmoid")]
_FUSED = [*_MASKED, _abi.ACTIVATIONS.index("hard_swish")]


def is_fused(activation: Activation, residual: bool) -> bool:
    """Whether it is computed along with the batch norm: after adding a residual, if a bit tells its slope, and never if it needs
    an exponential, which the backward pass would compute twice (docs/pytorch.md)."""
    return activation.number in (_MASKED if residual else _FUSED) or activation == IDENTITY


# ---- Shapes, for the compiler ----


@torch.library.register_fake("bnorm::forward", lib=_library)
def _(x, residual, weight, bias, mean, var, training, momentum, biased, eps, activation, alpha, beta, keep):
    masked = keep and residual is not None and activation in _MASKED
    return (torch.empty_like(x), x.new_empty((3 if training else 2 if keep else 0, x.shape[1]), dtype=torch.float32),
            x.new_empty((x.numel() + 7) // 8 if masked else 0, dtype=torch.uint8))


@torch.library.register_fake("bnorm::backward", lib=_library)
def _(dy, x, weight, bias, saved, mask, training, eps, activation, alpha, beta, wants_x, wants_residual, wants_parameters):
    def per_channel(parameter):
        return x.new_empty(x.shape[1] if wants_parameters else 0,
                           dtype=parameter.dtype if wants_parameters and parameter is not None else torch.float32)
    none = x.new_empty(0)
    return (torch.empty_like(x) if wants_x else none, torch.empty_like(x) if wants_residual else none.clone(),
            per_channel(weight), per_channel(bias))


# ---- Gradients ----


def _slopes(mask: Tensor, z: Tensor, activation: Activation) -> Tensor:
    """What a mask says of the activation's derivative."""
    bits = (mask[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    inside = bits.flatten()[:z.numel()].as_strided(z.shape, z.stride()).to(z.dtype)
    name = _abi.ACTIVATIONS[activation.number]
    low, high = {"leaky_relu": (activation.alpha, 1.0), "hard_sigmoid": (0.0, activation.alpha)}.get(name, (0.0, 1.0))
    return low + (high - low) * inside


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, residual, weight, bias, mean, var, how):
        y, saved, mask = _forward(x, residual, weight, bias, mean, var, *how, True)
        ctx.save_for_backward(x, weight, bias, saved, mask)
        ctx.how = how
        return y

    @staticmethod
    def backward(ctx, dy):
        if torch.is_grad_enabled():
            return _BatchNorm.differentiable_backward(ctx, dy)
        x, weight, bias, saved, mask = ctx.saved_tensors
        training, _, _, eps, *activation = ctx.how
        wants_x, wants_residual, wants_weight, wants_bias, _, _, _ = ctx.needs_input_grad
        added = wants_residual and activation[0] == 0  # whose gradient is dy itself
        dx, dresidual, dweight, dbias = _backward(dy, x, weight, bias, saved, mask, training, eps, *activation, wants_x,
                                                  wants_residual and not added, wants_weight or wants_bias)
        return (dx if wants_x else None, dy if added else dresidual if wants_residual else None,
                dweight if wants_weight else None, dbias if wants_bias else None, None, None, None)

    @staticmethod
    def differentiable_backward(ctx, dy):
        """The same in PyTorch's operators, which can be differentiated again."""
        x, weight, bias, saved, mask = ctx.saved_tensors
        training, _, _, eps, *activation = ctx.how
        activation = Activation(*activation)
        mean, var = (None, None) if training else saved
        wanted = [t for t, wants in zip((x, None, weight, bias), ctx.needs_input_grad) if wants and t is not None]
        z = functional.batch_norm(x, mean, var, weight, bias, training, 0.0, eps)
        dz, y = dy, z
        if mask.numel():
            dz = dy * _slopes(mask, torch.empty_like(x), activation)
        else:
            y = _FUNCTIONS[activation.number](z, activation)
        found = iter(torch.autograd.grad(y, wanted, dz, create_graph=True) if wanted else ())
        wants_x, wants_residual, wants_weight, wants_bias, _, _, _ = ctx.needs_input_grad
        return (next(found) if wants_x else None, dz if wants_residual else None, next(found) if wants_weight else None,
                next(found) if wants_bias else None, None, None, None)


def apply(x, residual, weight, bias, mean, var, *how):
    """how: training, momentum, biased, eps, activation, alpha, beta."""
    if torch.is_grad_enabled() and (x.requires_grad or (weight is not None and weight.requires_grad) or
                                    (bias is not None and bias.requires_grad) or
                                    (residual is not None and residual.requires_grad)):
        return _BatchNorm.apply(x, residual, weight, bias, mean, var, how)
    return _forward(x, residual, weight, bias, mean, var, *how, False)[0]


# What the compiler sees, and what is exported: one operator that has a gradient.
_library.define("batch_norm(Tensor x, Tensor? residual, Tensor? weight, Tensor? bias, Tensor(a!)? running_mean, "
                "Tensor(b!)? running_var, bool training, float momentum, bool biased, float eps, int activation, "
                "float alpha, float beta) -> Tensor y")
_library.impl("batch_norm", apply, "CompositeImplicitAutograd")


# ---- Calls ----


def _is_taken(x: Tensor, training: bool, momentum: float, eps: float) -> bool:
    """Whether the library has this: on the CPU, of its types. Nothing, or one value per channel in training, is PyTorch's."""
    return (x.dtype in DTYPES and x.is_cpu and x.dim() >= 2 and x.numel() > (x.shape[1] if training else 0)
            and 0.0 <= eps < math.inf and (not training or 0.0 <= momentum <= 1.0))


def _is_plain(x: Tensor) -> bool:
    """Whether nothing but autograd looks on: no subclass, no transform of torch.func, no forward-mode gradient, no tracer."""
    return (type(x) in (Tensor, torch.nn.Parameter) and not torch.jit.is_tracing()
            and torch._C._functorch.peek_interpreter_stack() is None and torch.autograd.forward_ad._current_level < 0)


def takes(x: Tensor, training: bool, momentum: float, eps: float) -> bool:
    """Whether apply() may have it, outside of the compiler."""
    return not torch.compiler.is_compiling() and _is_taken(x, training, momentum, eps) and _is_plain(x)


def run(x: Tensor, running_mean: Optional[Tensor], running_var: Optional[Tensor], weight: Optional[Tensor],
        bias: Optional[Tensor], training: bool, momentum: float, eps: float, activation: Activation,
        residual: Optional[Tensor]) -> Tensor:
    """batch_norm() after its arguments were read."""
    added = residual is None or (residual.shape == x.shape and residual.dtype == x.dtype and residual.is_cpu)
    compiling = torch.compiler.is_compiling()
    if added and _is_taken(x, training, momentum, eps) and (compiling or _is_plain(x)):
        return (torch.ops.bnorm.batch_norm if compiling else apply)(
            x, residual, weight, bias, running_mean, running_var, training, momentum, False, eps, *activation)
    z = functional.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    return _FUNCTIONS[activation.number](z if residual is None else z + residual, activation)


def batch_norm(x: Tensor, running_mean: Optional[Tensor], running_var: Optional[Tensor], weight: Optional[Tensor] = None,
               bias: Optional[Tensor] = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5, *,
               activation: Union[None, str, Sequence[Any]] = None, residual: Optional[Tensor] = None) -> Tensor:
    """Is torch.nn.functional.batch_norm, and then activation(... + residual) in the same pass.

    activation is a name of bnorm.infer(), or a name and its parameters, as in ("clamp", 0, 6). Those that need an exponential are
    PyTorch's to compute, as is all of a call that the library does not take.
    """
    how = activation_of(activation)
    if is_fused(how, residual is not None):
        return run(x, running_mean, running_var, weight, bias, training, momentum, eps, how, residual)
    z = run(x, running_mean, running_var, weight, bias, training, momentum, eps, IDENTITY, residual)
    return _FUNCTIONS[how.number](z, how)
