# SPDX-License-Identifier: MIT
"""What the package repeats of the C headers is what they say."""

import pathlib
import re

import pytest
from bnorm import _abi

include = pathlib.Path(__file__).parents[2] / "include/bnorm"
header = "".join(re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S) for path in include.glob("*.h"))


def enumerators(prefix):
    return {name.lower(): int(number) for name, number in re.findall(rf"\b{prefix}_(\w+) = (\d+)", header)}


def test_enumerators():
    assert list(_abi.ACTIVATIONS) == list(enumerators("BNORM_ACT"))
    assert list(enumerators("BNORM_ACT").values()) == list(range(len(_abi.ACTIVATIONS)))
    assert _abi.HINTS == enumerators("BNORM_HINT")
    short = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
    assert _abi.DTYPES == {short[name]: number for name, number in enumerators("BNORM_DTYPE").items()}
    assert {"train": _abi.OP_TRAIN, "backward": _abi.OP_BACKWARD}.items() <= enumerators("BNORM_OP").items()
    assert set(_abi.ARGUMENTS) <= set(enumerators("BNORM_ERROR").values())


@pytest.mark.parametrize("struct, name", [
    (_abi.Layout, "layout"), (_abi.Shape, "shape"), (_abi.Executor, "executor"), (_abi.Epilogue, "epilogue"),
    (_abi.InferParams, "infer_params"), (_abi.TrainParams, "train_params"), (_abi.BackwardParams, "backward_params")])
def test_fields(struct, name):
    body = re.search(rf"typedef struct bnorm_{name} {{(.*?)}} bnorm_{name};", header, re.S)[1]
    fields = re.findall(r"(?:\(\*(\w+)\)\([^)]*\)|(\w+));", body)
    assert [field.rstrip("_") for field, _ in struct._fields_] == [a or b for a, b in fields]
