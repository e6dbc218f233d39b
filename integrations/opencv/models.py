#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes networks with batch norms that no convolution can take up, as ONNX with random weights, and what ONNX Runtime
makes of a random input: NAME-BATCH.onnx, NAME-BATCH.input.pb, and NAME-BATCH.onnxruntime, which is floats.

usage: models.py DIRECTORY
"""
import pathlib
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class Network:
    """Nodes in order; each method adds some behind the tensor `x` and returns the name of what they give."""

    def __init__(self, seed):
        self.random = numpy.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def add(self, kind, *inputs, **attributes):
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], output, **attributes))
        return output

    def weight(self, values, dtype=numpy.float32):
        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(numpy.asarray(values, dtype), name))
        return name

    def conv(self, x, inputs, outputs, kernel, stride=1, dims=2):
        shape = (outputs, inputs) + (kernel,) * dims
        weights = self.random.normal(0, (2 / (inputs * kernel**dims)) ** 0.5, shape)
        return self.add("Conv", x, self.weight(weights), kernel_shape=[kernel] * dims, strides=[stride] * dims,
                        pads=[kernel // 2] * 2 * dims)

    def norm(self, x, channels):
        gamma, var = self.random.uniform(0.5, 1.5, (2, channels))
        beta, mean = self.random.normal(0, 0.2, (2, channels))
        return self.add("BatchNormalization", x, *map(self.weight, (gamma, beta, mean, var)), epsilon=1e-5)

    def norm_relu(self, x, channels):
        return self.add("Relu", self.norm(x, channels))

    def norm_relu_conv(self, x, inputs, *shape, **more):
        return self.conv(self.norm_relu(x, inputs), inputs, *shape, **more)

    def stem(self, x, channels):
        x = self.norm_relu(self.conv(x, 3, channels, 7, 2), channels)
        return self.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])

    def classify(self, x, features, classes):
        weights = self.random.normal(0, features**-0.5, (classes, features))
        return self.add("Gemm", x, self.weight(weights), self.weight(self.random.normal(0, 0.1, classes)), transB=1)

    def head(self, x, channels):
        x = self.add("GlobalAveragePool", self.norm_relu(x, channels))
        return self.classify(self.add("Flatten", x), channels, 1000)


def densenet121(net, x):
    """Huang et al. 2017: each layer reads all before it; a batch norm follows each concatenation."""
    x, channels = net.stem(x, 64), 64
    for block, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            new = net.norm_relu_conv(net.norm_relu_conv(x, channels, 128, 1), 128, 32, 3)
            x, channels = net.add("Concat", x, new, axis=1), channels + 32
        if block < 3:
            x, channels = net.norm_relu_conv(x, channels, channels // 2, 1), channels // 2
            x = net.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    return net.head(x, channels)


def resnet50v2(net, x):
    """He et al. 2016, "Identity mappings": a batch norm reads each sum, which the next sum reads as well."""
    x, channels = net.stem(x, 64), 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            active = net.norm_relu(x, channels)
            shortcut = x if block else net.conv(active, channels, 4 * width, 1, stride)
            new = net.norm_relu_conv(net.conv(active, channels, width, 1), width, width, 3, stride)
            x, channels = net.add("Add", net.norm_relu_conv(new, width, 4 * width, 1), shortcut), 4 * width
    return net.head(x, channels)


def pointnet(net, x):
    """Qi et al. 2017: layers that all points share, then the maximum over points; here with pre-activation residual
    blocks, whose batch norms stay, and one over the points themselves."""
    x, parts = net.conv(net.norm(x, 3), 3, 64, 1, dims=1), []
    for _ in range(4):
        new = net.norm_relu_conv(net.norm_relu_conv(x, 64, 64, 1, dims=1), 64, 64, 1, dims=1)
        x = net.add("Add", x, new)
        parts.append(x)
    x = net.norm_relu_conv(net.add("Concat", *parts, axis=1), 256, 1024, 1, dims=1)
    x = net.add("ReduceMax", x, axes=[2], keepdims=0)
    return net.classify(net.norm_relu(x, 1024), 1024, 40)


def layer(net, x):
    """Batch norm and ReLU alone, of DenseNet-121's first transition."""
    return net.norm_relu(x, 256)


MODELS = {
    "densenet121": (densenet121, (3, 224, 224), (1000,)),
    "resnet50v2": (resnet50v2, (3, 224, 224), (1000,)),
    "pointnet": (pointnet, (3, 1024), (40,)),
    "layer": (layer, (256, 56, 56), (256, 56, 56)),
}


def make(build, batch, input_shape, output_shape):
    net = Network(seed=1)
    output = build(net, "input")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        net.nodes, build.__name__,
        [value("input", TensorProto.FLOAT, (batch, *input_shape))],
        [value(output, TensorProto.FLOAT, (batch, *output_shape))], net.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    return model


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    for name, (build, shape, output_shape) in MODELS.items():
        for batch in (1, 8):
            model = make(build, batch, shape, output_shape)
            x = numpy.random.default_rng(2).normal(size=(batch, *shape)).astype(numpy.float32)
            session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            y, = session.run(None, {"input": x})
            path = directory / f"{name}-{batch}"
            onnx.save(model, path.with_suffix(".onnx"))
            path.with_suffix(".input.pb").write_bytes(numpy_helper.from_array(x).SerializeToString())
            y.tofile(path.with_suffix(".onnxruntime"))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
