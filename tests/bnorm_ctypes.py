# SPDX-License-Identifier: MIT
"""The part of bnorm.h that scripts call, by ctypes."""
import ctypes

pointer, size_t, c_float, c_int = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float, ctypes.c_int


class Layout(ctypes.Structure):
    _fields_ = [("dtype", c_int), ("image_stride", size_t), ("block_stride", size_t), ("point_stride", size_t)]


class Shape(ctypes.Structure):
    _fields_ = [("struct_size", size_t), ("batch", size_t), ("channels", size_t), ("points", size_t),
                ("block", size_t), ("in_", Layout), ("out", Layout)]


class TrainParams(ctypes.Structure):
    _fields_ = [("struct_size", size_t), ("gamma", pointer), ("beta", pointer), ("epsilon", c_float),
                ("momentum", c_float), ("running_variance", c_int), ("running_mean", pointer), ("running_var", pointer),
                ("saved_mean", pointer), ("saved_mean_low", pointer), ("saved_rstd", pointer), ("hint", c_int), ("epilogue", pointer)]


class InferParams(ctypes.Structure):
    _fields_ = [("struct_size", size_t), ("mean", pointer), ("var", pointer), ("gamma", pointer), ("beta", pointer),
                ("epsilon", c_float), ("hint", c_int), ("epilogue", pointer)]


class Epilogue(ctypes.Structure):
    _fields_ = [("struct_size", size_t), ("activation", c_int), ("alpha", c_float), ("beta", c_float),
                ("residual", pointer), ("mask", pointer)]


class BackwardParams(ctypes.Structure):
    _fields_ = [("struct_size", size_t), ("statistics", c_int), ("epilogue", pointer), ("gamma", pointer),
                ("beta", pointer), ("mean", pointer), ("mean_low", pointer), ("rstd", pointer), ("var", pointer),
                ("epsilon", c_float), ("accumulate", c_int), ("dgamma", pointer), ("dbeta", pointer), ("dresidual", pointer), ("hint", c_int)]


class Executor(ctypes.Structure):
    _fields_ = [("run", pointer), ("context", pointer), ("width", size_t)]


F32, BF16, F16 = range(3)
TRAIN, BACKWARD = 1, 2


def call(function, *arguments):
    status = function(*arguments)
    if status:
        raise RuntimeError(f"status {status}")


def workspace(library, shape, operation, executor=None):
    size = size_t()
    call(library.bnorm_workspace_size, ctypes.byref(shape), operation, executor, ctypes.byref(size))
    return ctypes.create_string_buffer(max(size.value, 1)), size
