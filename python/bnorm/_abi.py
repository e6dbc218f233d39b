# SPDX-License-Identifier: MIT
"""The library by ctypes: its structs, its functions, and statuses as exceptions."""

import ctypes
import importlib.metadata
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int, c_size_t, c_uint64, c_void_p
from typing import Any, NamedTuple, Sequence, Union

DTYPES = {"float32": 0, "bfloat16": 1, "float16": 2}
ACTIVATIONS = ("identity", "relu", "clamp", "leaky_relu", "hard_sigmoid", "hard_swish", "sigmoid", "silu", "tanh", "gelu",
               "gelu_tanh", "elu", "softplus", "mish")
HINTS = {"auto": 0, "keep": 1, "stream": 2}
OP_TRAIN, OP_BACKWARD = 1, 2

# Which argument of the Python call a status is about.
ARGUMENTS = {2: "x", 3: "out", 11: "shape", 12: "strides", 20: "epsilon", 21: "momentum", 24: "hint", 25: "activation",
             30: "x", 31: "name", 32: "activation"}


class Error(ValueError):
    """What the library answered: `status` is its number, the text its words after the name of an argument."""

    def __init__(self, status: int) -> None:
        self.status = status
        argument = f"{ARGUMENTS[status]}: " if status in ARGUMENTS else ""
        super().__init__(argument + library.bnorm_status_string(status).decode())


class Layout(ctypes.Structure):
    _fields_ = [("dtype", c_int), ("image_stride", c_size_t), ("block_stride", c_size_t), ("point_stride", c_size_t)]


class Sized(ctypes.Structure):
    """A struct that begins with its size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(self), **fields)


class Shape(Sized):
    _fields_ = [("struct_size", c_size_t), ("batch", c_size_t), ("channels", c_size_t), ("points", c_size_t),
                ("block", c_size_t), ("in_", Layout), ("out", Layout)]


class Epilogue(Sized):
    _fields_ = [("struct_size", c_size_t), ("activation", c_int), ("alpha", c_float), ("beta", c_float),
                ("residual", c_void_p), ("mask", c_void_p)]


class InferParams(Sized):
    _fields_ = [("struct_size", c_size_t), ("mean", c_void_p), ("var", c_void_p), ("gamma", c_void_p),
                ("beta", c_void_p), ("epsilon", c_float), ("hint", c_int), ("epilogue", POINTER(Epilogue))]


class TrainParams(Sized):
    _fields_ = [("struct_size", c_size_t), ("gamma", c_void_p), ("beta", c_void_p), ("epsilon", c_float),
                ("momentum", c_float), ("running_variance", c_int), ("running_mean", c_void_p),
                ("running_var", c_void_p), ("saved_mean", c_void_p), ("saved_mean_low", c_void_p),
                ("saved_rstd", c_void_p), ("hint", c_int), ("epilogue", POINTER(Epilogue))]


class BackwardParams(Sized):
    _fields_ = [("struct_size", c_size_t), ("statistics", c_int), ("epilogue", POINTER(Epilogue)), ("gamma", c_void_p),
                ("beta", c_void_p), ("mean", c_void_p), ("mean_low", c_void_p), ("rstd", c_void_p), ("var", c_void_p),
                ("epsilon", c_float), ("accumulate", c_int), ("dgamma", c_void_p), ("dbeta", c_void_p),
                ("dresidual", c_void_p), ("hint", c_int)]


Task = ctypes.CFUNCTYPE(None, c_void_p, c_size_t)
Run = ctypes.CFUNCTYPE(None, c_void_p, c_size_t, Task, c_void_p)


class Executor(ctypes.Structure):
    _fields_ = [("run", Run), ("context", c_void_p), ("width", c_size_t)]


def _load() -> ctypes.CDLL:
    """Whose calls release the GIL."""
    try:
        files = importlib.metadata.files("bnorm") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [file.locate() for file in files if "bnorm-python" in file.name]
    if not found:
        raise ImportError("the package is here without its library: pip installs both")
    loaded = ctypes.CDLL(str(found[0]))
    shape, executor, workspace = POINTER(Shape), POINTER(Executor), (c_void_p, c_size_t)
    train, backward = POINTER(TrainParams), POINTER(BackwardParams)
    signatures = {
        "bnorm_infer": (shape, POINTER(InferParams), c_void_p, c_void_p, executor),
        "bnorm_fold": (shape, POINTER(InferParams), c_void_p, c_void_p, c_void_p, c_void_p),
        "bnorm_train": (shape, train, c_void_p, c_void_p, *workspace, executor),
        "bnorm_train_collect": (shape, c_void_p, c_void_p, c_void_p, *workspace, executor),
        "bnorm_train_merge": (c_size_t, c_uint64, c_void_p, c_void_p, c_uint64, c_void_p, c_void_p),
        "bnorm_train_finish": (c_size_t, c_uint64, c_void_p, c_void_p, train),
        "bnorm_train_apply": (shape, train, c_void_p, c_void_p, executor),
        "bnorm_backward": (shape, backward, c_void_p, c_void_p, c_void_p, *workspace, executor),
        "bnorm_backward_reduce": (shape, backward, c_void_p, c_void_p, c_void_p, *workspace, executor),
        "bnorm_backward_apply": (shape, backward, c_uint64, c_void_p, c_void_p, c_void_p, c_void_p, executor),
        "bnorm_workspace_size": (shape, c_int, executor, POINTER(c_size_t)),
        "bnorm_mask_size": (shape, POINTER(c_size_t)),
        "bnorm_set_isa": (c_char_p,),
        "bnorm_cache_sizes": (POINTER(c_size_t), POINTER(c_size_t)),
        "bnorm_set_cache_sizes": (c_size_t, c_size_t),
    }
    for name, arguments in signatures.items():
        getattr(loaded, name).argtypes = arguments
    loaded.bnorm_status_string.restype = loaded.bnorm_isa.restype = loaded.bnorm_isa_name.restype = c_char_p
    loaded.bnorm_version.restype = c_char_p
    loaded.bnorm_set_cache_sizes.restype = None
    loaded.bnorm_isa_count.restype = c_size_t
    loaded.bnorm_isa_name.argtypes = (c_size_t,)
    return loaded


library = _load()


def call(name: str, *arguments: Any) -> None:
    status = getattr(library, name)(*arguments)
    if status:
        raise Error(status)


def size_of(name: str, *arguments: Any) -> int:
    """What a function stores in its last argument."""
    size = c_size_t()
    call(name, *arguments, byref(size))
    return size.value


class Activation(NamedTuple):
    """One of bnorm_activation, with its parameters."""

    number: int = 0
    alpha: float = 0.0
    beta: float = 0.0


def activation_of(given: Union[None, str, Sequence[Any]]) -> Activation:
    """That of a name, or of a name and its parameters, as in ("clamp", 0, 6)."""
    name, *parameters = ["identity"] if given is None else [given] if isinstance(given, str) else list(given)
    if name == "relu6":
        name, parameters = "clamp", [0, 6]
    if name not in ACTIVATIONS:
        raise ValueError(f"activation: {name!r} is not one of {', '.join(ACTIVATIONS)}, relu6")
    if len(parameters) > 2:
        raise ValueError("activation: at most two parameters")
    return Activation(ACTIVATIONS.index(name), *map(float, parameters))
