#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A peer that lives in Python, which bnorm-bench asks through a pipe (python_peer.h): python_peer.py NAME

NAME is pytorch, onnxruntime or ncnn, called so that its memory is there before: outputs are given where the library
allows it, and else the allocator keeps what was freed. With "-call" it is called as its users do.
"""
import math
import os
import sys
import tempfile
import time

import numpy as np

EPSILON = 1e-5
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


class Row:
    """What is asked for, and the flat tensors and the parameters by name."""

    def __init__(self, words, tensors, parameters):
        self.op, self.layout, self.dtype, *numbers = words
        self.batch, self.channels, self.points, self.threads = map(int, numbers)
        self.elements = self.batch * self.channels * self.points
        self.tensors, self.parameters = tensors, parameters


class PyTorch:
    def __init__(self, row, as_called):
        import torch
        torch.set_num_threads(row.threads)
        self.torch, self.row = torch, row
        self.x, self.dy = (self.shaped(torch.from_numpy(tensor)) for tensor in row.tensors)
        self.y, self.gradients = torch.empty_like(self.x), []
        self.gamma, self.beta, self.mean, self.var = map(torch.from_numpy, row.parameters)
        self.op, _, self.relu = row.op.partition("+")
        self.run = getattr(self, f"{'call_' if as_called else ''}{self.op}")
        if as_called:
            self.make_module()
        elif self.op == "backward":
            self.z, *self.saved = torch.native_batch_norm(self.x, self.gamma, self.beta, None, None, True, 0, EPSILON)

    @staticmethod
    def version():
        import torch
        return torch.__version__

    def shaped(self, flat):
        """As PyTorch's users have it: 2-D without points, else 4-D; NHWC is channels_last there."""
        row, flat = self.row, flat[:self.row.elements]
        if row.dtype == "bf16":
            flat = flat.to(self.torch.bfloat16)
        if row.points == 1:
            return flat.view(row.batch, row.channels)
        side = math.isqrt(row.points)
        plane = (side, side) if side * side == row.points else (1, row.points)
        if row.layout == "nhwc":
            return flat.view(row.batch, *plane, row.channels).permute(0, 3, 1, 2)
        return flat.view(row.batch, row.channels, *plane)

    def results(self):
        self.run()
        tensors = [self.y.permute(0, 2, 3, 1) if self.row.layout == "nhwc" and self.row.points > 1 else self.y, *self.gradients]
        return [tensor.detach().contiguous().view(self.torch.int16 if tensor.element_size() == 2 else self.torch.int32).numpy()
                for tensor in tensors]

    # Without allocation, but for backward, whose operator takes no outputs.
    def forward(self, training):
        self.torch.ops.aten.native_batch_norm.out(self.x, self.gamma, self.beta, self.mean, self.var, training, 0.1, EPSILON,
                                                  out=self.y, save_mean=self.kept[0], save_invstd=self.kept[1])
        if self.relu:
            self.torch.relu_(self.y)

    def infer(self):
        self.kept = self.torch.empty(0), self.torch.empty(0)
        self.run = lambda: self.forward(False)
        self.run()

    def train(self):
        self.kept = self.torch.empty_like(self.mean), self.torch.empty_like(self.var)
        self.run = lambda: self.forward(True)
        self.run()

    def backward(self):
        dy = self.torch.ops.aten.threshold_backward(self.dy, self.z, 0) if self.relu else self.dy
        self.y, *self.gradients = self.torch.ops.aten.native_batch_norm_backward(
            dy, self.x, self.gamma, self.mean, self.var, *self.saved, True, EPSILON, [True, True, True])

    # As users call it.
    def make_module(self):
        nn = self.torch.nn
        norm = (nn.BatchNorm1d if self.x.dim() == 2 else nn.BatchNorm2d)(self.row.channels, EPSILON)
        norm.load_state_dict({"weight": self.gamma, "bias": self.beta, "running_mean": self.mean, "running_var": self.var,
                              "num_batches_tracked": self.torch.tensor(0)})
        self.module = nn.Sequential(norm, nn.ReLU(inplace=True)) if self.relu else norm
        self.module.train(self.op != "infer")
        if self.op == "backward":
            self.inputs = self.x.requires_grad_(), norm.weight, norm.bias
            self.graph = self.module(self.x)

    def call_infer(self):
        with self.torch.no_grad():
            self.y = self.module(self.x)

    def call_train(self):
        self.y = self.module(self.x)

    def call_backward(self):
        self.y, *self.gradients = self.torch.autograd.grad(self.graph, self.inputs, self.dy, retain_graph=True)


class OnnxRuntime:
    def __init__(self, row, as_called):
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
        shape = [row.batch, row.channels, row.points]
        names = ["gamma", "beta", "mean", "var"]
        graph = helper.make_graph(
            [helper.make_node("BatchNormalization", ["x", *names], ["y"], epsilon=EPSILON)], "norm",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(array, name) for array, name in zip(row.parameters, names)])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = row.threads
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        x = row.tensors[0][:row.elements].reshape(shape)
        self.y = np.empty(shape, np.float32)
        if as_called:
            def run():
                self.y, = session.run(None, {"x": x})
        else:
            bound = session.io_binding()
            for bind, name, array in ((bound.bind_input, "x", x), (bound.bind_output, "y", self.y)):
                bind(name, "cpu", 0, np.float32, shape, array.ctypes.data)
            def run():
                session.run_with_iobinding(bound)
        self.run = run

    @staticmethod
    def version():
        import onnx  # noqa: F401  makes the model
        import onnxruntime
        return onnxruntime.__version__

    def results(self):
        self.run()
        return [self.y]


class Ncnn:
    """In place on tensors that are packed already, as within its networks, image by image; as users call it, a network of one
    layer."""

    def __init__(self, row, as_called):
        import ncnn
        self.ncnn, self.row = ncnn, row
        self.net = ncnn.Net()
        self.net.opt.num_threads = row.threads
        for setting in ("fp16_storage", "fp16_arithmetic", "fp16_packed", "bf16_storage"):
            setattr(self.net.opt, f"use_{setting}", False)
        self.net.load_param_mem(f"7767517\n2 2\nInput x 0 1 x\nBatchNorm norm 1 1 x y 0={row.channels} 1={EPSILON}\n")
        gamma, beta, mean, var = row.parameters
        with tempfile.NamedTemporaryFile() as weights:
            weights.write(b"".join(array.tobytes() for array in (gamma, mean, var, beta)))
            weights.flush()
            self.net.load_model(weights.name)
        self.block = 1 if row.layout == "nchw" else int(row.layout[4:-1])
        x = row.tensors[0][:row.elements].reshape(row.batch, row.channels // self.block, row.points, self.block)
        self.images = self.outputs = [self.packed(image.transpose(0, 2, 1).reshape(row.channels, row.points)) for image in x]
        self.run = self.extract if as_called else self.normalise
        self.layer = self.net.layers()[1]

    @staticmethod
    def version():
        import ncnn
        return ncnn.__version__

    def packed(self, image):
        mat = self.ncnn.Mat(self.row.points, 1, self.row.channels)
        np.array(mat, copy=False)[:, 0] = image
        return mat if self.block == 1 else self.ncnn.convert_packing(mat, self.block, self.net.opt)

    def results(self):
        self.run()
        y = np.empty((self.row.batch, self.row.channels // self.block, self.row.points, self.block), np.float32)
        for to, image in zip(y, self.outputs):
            flat = image if image.elempack == 1 else self.ncnn.convert_packing(image, 1, self.net.opt)
            to[...] = np.array(flat, copy=False)[:, 0].reshape(-1, self.block, self.row.points).transpose(0, 2, 1)
        return [y]

    def normalise(self):
        for image in self.images:
            self.layer.forward_inplace(image, self.net.opt)

    def extract(self):
        self.outputs = []
        for image in self.images:
            extractor = self.net.create_extractor()
            extractor.input("x", image)
            self.outputs.append(extractor.extract("y")[1])


PEERS = {"pytorch": PyTorch, "onnxruntime": OnnxRuntime, "ncnn": Ncnn}


def sample(call, warm_up=1e-3, measured=4e-3):
    """Seconds of a call, as measure.h takes them."""
    calls, began = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - began < warm_up:
        call()
        calls += 1
    calls = max(1, math.ceil(measured * calls / (time.perf_counter() - began)))
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def main():
    name, _, variant = sys.argv[1].partition("-")
    if variant != "call":
        import ctypes
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 30)
        ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 1 << 30)
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer

    def array(count):
        values = np.empty(count, np.float32)
        asked.readinto(memoryview(values).cast("B"))
        return values

    answers.write(f"{PEERS[name].version()}\n".encode())
    answers.flush()
    tensors, peer = [], None
    for line in asked:
        request, *words = line.decode().split()
        if request == "tensors":
            tensors = [array(int(words[0])) for _ in range(2)]
            continue
        if request == "enter":
            parameters, peer = [array(int(words[4])) for _ in range(4)], None
            try:
                peer = PEERS[name](Row(words, tensors, parameters), variant == "call")
                results = [result.tobytes() for result in peer.results()]
                answers.write(f"{sum(map(len, results))}\n".encode() + b"".join(results))
            except Exception as error:  # whatever a library throws, the row has failed
                answers.write(f"{(str(error) or repr(error)).splitlines()[0]}\n".encode())
        elif request == "sample":
            answers.write(f"{sample(peer.run):.9g}\n".encode())
        answers.flush()


if __name__ == "__main__":
    main()
