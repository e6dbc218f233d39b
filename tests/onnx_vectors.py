#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the ONNX project's BatchNormalization test vectors as a C header for tests/onnx.c.

usage: onnx_vectors.py DATA HEADER

DATA is the directory that holds node/ and pytorch-converted/ (Debian: libonnx-testdata). Every model below it that is
one BatchNormalization node becomes one `struct onnx_vector`. Numbers are written as hexadecimal floats, so they are
exact. Anything that this script does not understand stops it: a vector is never dropped or guessed at.
"""
import pathlib
import sys

import numpy
import onnx
from onnx import numpy_helper

# The operator's inputs and outputs in their order; the names are those of struct onnx_vector.
INPUTS = ["x", "gamma", "beta", "mean", "var"]
OUTPUTS = ["y", "new_mean", "new_var"]


def read_tensor(path):
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


def read_settings(node, opset):
    """epsilon, momentum and whether to train, by the rules of the operator's versions 6 to 15."""
    settings = {"epsilon": 1e-5, "momentum": 0.9, "training_mode": 0, "is_test": 0 if opset < 7 else 1, "spatial": 1}
    for attribute in node.attribute:
        if attribute.name not in settings:
            raise ValueError(f"unknown attribute {attribute.name}")
        settings[attribute.name] = onnx.helper.get_attribute_value(attribute)
    # Before version 14 training was told by is_test and the number of outputs, and its outputs meant something else.
    if not settings["spatial"] or (opset < 14 and (not settings["is_test"] or len(node.output) > 1)):
        raise ValueError("neither inference nor training as of version 14")
    return settings["epsilon"], settings["momentum"], bool(settings["training_mode"])


def read_vector(directory, data_set):
    model = onnx.load(str(directory / "model.onnx"))
    (node,) = model.graph.node
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    epsilon, momentum, training = read_settings(node, opset)

    tensors = {initializer.name: numpy_helper.to_array(initializer) for initializer in model.graph.initializer}
    fed = [value.name for value in model.graph.input if value.name not in tensors]
    tensors.update((name, read_tensor(data_set / f"input_{i}.pb")) for i, name in enumerate(fed))
    tensors.update((name, read_tensor(data_set / f"output_{i}.pb")) for i, name in enumerate(node.output))

    arrays = {ours: tensors[theirs] for ours, theirs in zip(INPUTS, node.input, strict=True)}
    arrays |= {ours: tensors[theirs] for ours, theirs in zip(OUTPUTS, node.output)}
    if len(node.output) != (3 if training else 1):
        raise ValueError("unexpected number of outputs")
    if any(array.dtype != numpy.float32 or not numpy.isfinite(array).all() for array in arrays.values()):
        raise ValueError("not finite f32")
    return {"epsilon": epsilon, "momentum": momentum, "training": training, "arrays": arrays}


def c_float(value):
    return float(value).hex() + "f"


def c_array(name, array):
    values = [c_float(value) for value in array.ravel()]
    lines = [", ".join(values[i : i + 6]) for i in range(0, len(values), 6)]
    return f"static const float {name}[] = {{\n    " + ",\n    ".join(lines) + "};\n"


def c_vector(index, name, vector):
    shape = vector["arrays"]["x"].shape
    fields = {
        "name": f'"{name}"',
        "batch": shape[0],
        "channels": shape[1],
        "points": int(numpy.prod(shape[2:], dtype=int)),
        "training": int(vector["training"]),
        "epsilon": c_float(vector["epsilon"]),
        "momentum": c_float(vector["momentum"]),
    }
    fields |= {key: f"vector_{index}_{key}" for key in vector["arrays"]}
    return "    {" + ", ".join(f".{key} = {value}" for key, value in fields.items()) + "},\n"


def main():
    data, header = (pathlib.Path(argument) for argument in sys.argv[1:])
    arrays, table = "", ""
    data_sets = sorted(data.glob("*/test_*[Bb]atch*[Nn]orm*/test_data_set_*"))
    for index, data_set in enumerate(data_sets):
        name = data_set.relative_to(data).as_posix()
        try:
            vector = read_vector(data_set.parent, data_set)
        except (ValueError, KeyError, OSError) as error:
            sys.exit(f"{name}: {error}")
        arrays += "".join(c_array(f"vector_{index}_{key}", array) for key, array in vector["arrays"].items())
        table += c_vector(index, name, vector)
    if not table:
        sys.exit(f"{data}: no BatchNormalization vectors")
    header.write_text(f"{arrays}static const struct onnx_vector onnx_vectors[] = {{\n{table}}};\n")


if __name__ == "__main__":
    main()
