#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Training and its gradients against PyTorch, where it is installed: pytorch.py LIBRARY"""
import ctypes
import sys

import tap
from bnorm_ctypes import BACKWARD, TRAIN, BackwardParams, Epilogue, Shape, TrainParams, call, pointer, workspace

try:
    import torch
except ImportError:
    tap.skip_all("this Python has no PyTorch; -Dtorch_python=PYTHON names one that has")

F = torch.nn.functional
# In the order of bnorm_activation, with alpha and beta.
ACTIVATIONS = [("identity", lambda z: z, 0, 0), ("relu", torch.relu, 0, 0), ("relu6", F.relu6, 0, 6),
               ("leaky relu", lambda z: F.leaky_relu(z, 0.25), 0.25, 0), ("hard-sigmoid", F.hardsigmoid, 1 / 6, 0.5),
               ("hard-swish", F.hardswish, 0, 0), ("sigmoid", torch.sigmoid, 0, 0), ("silu", F.silu, 0, 0),
               ("tanh", torch.tanh, 0, 0), ("gelu", F.gelu, 0, 0),
               ("gelu tanh", lambda z: F.gelu(z, approximate="tanh"), 0, 0), ("elu", lambda z: F.elu(z, 1.5), 1.5, 0),
               ("softplus", F.softplus, 0, 0), ("mish", F.mish, 0, 0)]
KINKS = {"relu": (0,), "relu6": (0, 6), "leaky relu": (0,), "hard-sigmoid": (-3, 3)}  # where the slope jumps


def check(ours, theirs, name):
    """Theirs is computed in double: within 4e-6 of max(1, |theirs|), and of the root of a sum's length."""
    right = bool(((ours.double() - theirs).abs() <= 4e-6 * theirs.abs().clamp(min=1)).all())
    tap.check(right, name, f"off by {(ours.double() - theirs).abs().max():.3g}")


def compare(library, batch, channels, height, width, channels_last, activation, offset):
    act_name, act, alpha, beta_ = ACTIVATIONS[activation]
    residual = activation % 3 == 1
    name = f"{batch}x{channels}x{height}x{width} {'nhwc' if channels_last else 'nchw'} {act_name} offset {offset:g}"
    order = torch.channels_last if channels_last else torch.contiguous_format
    x = (torch.randn(batch, channels, height, width) + offset).contiguous(memory_format=order)
    dy = torch.randn(batch, channels, height, width).contiguous(memory_format=order)
    gamma, beta, mean, low, rstd, dgamma, dbeta = (torch.randn(channels) for _ in range(7))
    running_mean, running_var = torch.zeros(channels), torch.ones(channels)
    y, dx, dr = (torch.empty_like(x) for _ in range(3))
    r = torch.randn(batch, channels, height, width).contiguous(memory_format=order) if residual else torch.zeros_like(x)

    exact = [t.double().requires_grad_() for t in (x, gamma, beta, r)]
    kept = [running_mean.double(), running_var.double()]
    z = F.batch_norm(exact[0], *kept, exact[1], exact[2], True, 0.1, 1e-5) + exact[3]
    out = act(z)
    out.backward(dy.double())

    points = height * width
    shape = Shape(ctypes.sizeof(Shape), batch, channels, points, channels if channels_last else 1)
    epilogue = Epilogue(ctypes.sizeof(Epilogue), activation, alpha, beta_, r.data_ptr() if residual else None, None)
    train = TrainParams(ctypes.sizeof(TrainParams), gamma.data_ptr(), beta.data_ptr(), 1e-5, 0.1, 0,
                        running_mean.data_ptr(), running_var.data_ptr(), mean.data_ptr(), low.data_ptr(),
                        rstd.data_ptr(), 0, ctypes.addressof(epilogue))
    memory, size = workspace(library, shape, TRAIN)
    call(library.bnorm_train, ctypes.byref(shape), ctypes.byref(train), pointer(x.data_ptr()), pointer(y.data_ptr()),
         memory, size, None)
    backward = BackwardParams(ctypes.sizeof(BackwardParams), 0, ctypes.addressof(epilogue), gamma.data_ptr(), beta.data_ptr(),
                              mean.data_ptr(), low.data_ptr(), rstd.data_ptr(), None, 0, 0, dgamma.data_ptr(),
                              dbeta.data_ptr(), dr.data_ptr())
    memory, size = workspace(library, shape, BACKWARD)
    call(library.bnorm_backward, ctypes.byref(shape), ctypes.byref(backward), pointer(x.data_ptr()),
         pointer(dy.data_ptr()), pointer(dx.data_ptr()), memory, size, None)

    count = (batch * points) ** 0.5  # what a sum of so many values of about 1 is in size
    check(y, out.detach(), name + ": y")
    check(running_mean, kept[0], name + ": running mean")
    check(running_var, kept[1], name + ": running variance")
    # Where z is within rounding of a kink, either side is right.
    sure = torch.ones_like(z, dtype=torch.bool)
    for kink in KINKS.get(act_name, ()):
        sure &= (z.detach() - kink).abs() > 1e-5
    check(dx * sure, exact[0].grad * sure, name + ": dx")
    check(dr * sure, exact[3].grad * sure, name + ": dresidual")
    if bool(sure.all()):
        check(dgamma / count, exact[1].grad / count, name + ": dgamma")
        check(dbeta / count, exact[2].grad / count, name + ": dbeta")


def main(path):
    library = ctypes.CDLL(path)
    torch.manual_seed(1)
    for shape in ((2, 3, 4, 5), (8, 16, 7, 7), (4, 30, 9, 11), (32, 64, 1, 1), (2, 5, 56, 56)):
        for channels_last in (False, True):
            for activation in range(len(ACTIVATIONS)):
                for offset in (0.0, 1e3):
                    compare(library, *shape, channels_last, activation, offset)
    print(f"# PyTorch {torch.__version__}")
    tap.finish()


if __name__ == "__main__":
    main(sys.argv[1])
