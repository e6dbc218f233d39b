# SPDX-License-Identifier: MIT
"""Networks that people know, as in torchvision or in their papers, and the batches they are given.

They have no dropout and no stochastic depth, so that the losses of two runs can be compared.
"""

import functools
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple, Type

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Optional[Type[nn.Module]]


def unit(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1,
         activation: Activation = nn.ReLU) -> List[nn.Module]:
    """A convolution, a batch norm and, maybe, an activation."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs),
            *([activation(inplace=True)] if activation else [])]


def head(inputs: int, classes: int = 1000) -> List[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes)]


# ---- ResNet-50 (He et al. 2015), its stride in the 3x3 convolution ----


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(*unit(inputs, width), *unit(width, width, 3, stride), *unit(width, outputs, activation=None))
        self.shortcut = (nn.Identity() if inputs == outputs else
                         nn.Sequential(*unit(inputs, outputs, stride=stride, activation=None)))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y += self.shortcut(x)
        return self.relu(y)


def resnet50() -> nn.Module:
    layers, inputs = [*unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64
    for width, count, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for i in range(count):
            layers.append(Bottleneck(inputs, width, first_stride if i == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, *head(inputs))


# ---- MobileNetV2 (Sandler et al. 2018) and EfficientNet-B0 (Tan and Le 2019) ----


class Squeeze(nn.Module):
    """Weighs channels by what their means say (squeeze and excitation)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, squeezed, 1), nn.SiLU(inplace=True),
                                  nn.Conv2d(squeezed, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.body(x)


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int, activation: Activation,
                 squeezes: bool) -> None:
        super().__init__()
        width = expansion * inputs
        self.body = nn.Sequential(
            *(unit(inputs, width, activation=activation) if expansion > 1 else []),
            *unit(width, width, kernel, stride, groups=width, activation=activation),
            *([Squeeze(width, inputs // 4)] if squeezes else []),
            *unit(width, outputs, activation=None))
        self.added = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + y if self.added else y


def inverted_residuals(stages: Tuple[Tuple[int, ...], ...], activation: Activation, squeezes: bool) -> nn.Module:
    """Stages: expansion, kernel, outputs, how many blocks, the stride of the first."""
    layers, inputs = unit(3, 32, 3, 2, activation=activation), 32
    for expansion, kernel, outputs, count, first_stride in stages:
        for i in range(count):
            layers.append(InvertedResidual(inputs, outputs, expansion, kernel, first_stride if i == 0 else 1, activation,
                                           squeezes))
            inputs = outputs
    return nn.Sequential(*layers, *unit(inputs, 1280, activation=activation), *head(1280))


def mobilenet_v2() -> nn.Module:
    stages = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 3, 32, 3, 2), (6, 3, 64, 4, 2), (6, 3, 96, 3, 1), (6, 3, 160, 3, 2),
              (6, 3, 320, 1, 1))
    return inverted_residuals(stages, nn.ReLU6, squeezes=False)


def efficientnet_b0() -> nn.Module:
    stages = ((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2), (6, 5, 112, 3, 1), (6, 5, 192, 4, 2),
              (6, 3, 320, 1, 1))
    return inverted_residuals(stages, nn.SiLU, squeezes=True)


# ---- DenseNet-121 (Huang et al. 2016) ----


def before(inputs: int, outputs: int, kernel: int = 1) -> List[nn.Module]:
    """A batch norm and its activation before their convolution."""
    return [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True),
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)]


class DenseBlock(nn.Module):
    def __init__(self, inputs: int, count: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(*before(inputs + i * growth, 4 * growth), *before(4 * growth, growth, 3)) for i in range(count))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


def densenet121() -> nn.Module:
    layers, channels, growth = [*unit(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)], 64, 32
    for count in (6, 12, 24, 16):
        if channels > 64:
            layers += [*before(channels, channels // 2), nn.AvgPool2d(2)]
            channels //= 2
        layers.append(DenseBlock(channels, count, growth))
        channels += count * growth
    return nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU(inplace=True), *head(channels))


# ---- PointNet (Qi et al. 2016), classification with both transforms ----


def points(*widths: int) -> List[nn.Module]:
    """Layers that treat every point alike."""
    return [layer for inputs, outputs in zip(widths, widths[1:])
            for layer in (nn.Conv1d(inputs, outputs, 1), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))]


def dense(*widths: int) -> List[nn.Module]:
    return [layer for inputs, outputs in zip(widths, widths[1:])
            for layer in (nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))]


class Transform(nn.Module):
    """Multiplies points by a matrix that it finds for them."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.body = nn.Sequential(*points(size, 64, 128, 1024), nn.AdaptiveMaxPool1d(1), nn.Flatten(), *dense(1024, 512, 256))
        self.matrix = nn.Linear(256, size * size)
        nn.init.zeros_(self.matrix.weight)
        self.matrix.bias.data.copy_(torch.eye(size).flatten())

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(self.matrix(self.body(x)).view(-1, self.size, self.size), x)


def pointnet() -> nn.Module:
    return nn.Sequential(Transform(3), *points(3, 64, 64), Transform(64), *points(64, 64, 128, 1024), nn.AdaptiveMaxPool1d(1),
                         nn.Flatten(), *dense(1024, 512, 256), nn.Linear(256, 40))


# ---- 3-D U-Net (Cicek et al. 2016), with a quarter of its channels ----


def pair(inputs: int, middle: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(inputs, middle, 3, padding=1, bias=False), nn.BatchNorm3d(middle), nn.ReLU(inplace=True),
                         nn.Conv3d(middle, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))


class UNet(nn.Module):
    def __init__(self, width: int = 8, depth: int = 4, classes: int = 3) -> None:
        super().__init__()
        widths = [width << i for i in range(depth + 1)]
        self.down = nn.ModuleList(pair(1 if i == 0 else widths[i], widths[i], widths[i + 1]) for i in range(depth))
        self.pool = nn.MaxPool3d(2)
        self.widen = nn.ModuleList(nn.ConvTranspose3d(n, n, 2, 2) for n in widths[:1:-1])
        self.up = nn.ModuleList(pair(n + n // 2, n // 2, n // 2) for n in widths[:1:-1])
        self.last = nn.Conv3d(widths[1], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for down in self.down:
            x = down(self.pool(x) if kept else x)
            kept.append(x)
        for widen, up, skipped in zip(self.widen, self.up, kept[-2::-1]):
            x = up(torch.cat([skipped, widen(x)], 1))
        return self.last(x)


# ---- Temporal convolutional network (Bai et al. 2018), with batch norm for its weight norm ----


class TemporalBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, dilation: int, kernel: int = 3) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv1 = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, bias=False)
        self.conv2 = nn.Conv1d(outputs, outputs, kernel, dilation=dilation, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm1d(outputs), nn.BatchNorm1d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.norm1(self.conv1(functional.pad(x, (self.past, 0)))))
        y = self.norm2(self.conv2(functional.pad(y, (self.past, 0))))
        y += self.shortcut(x)
        return self.relu(y)


def tcn() -> nn.Module:
    blocks = [TemporalBlock(12 if i == 0 else 64, 64, 1 << i) for i in range(8)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 5))


class Model(NamedTuple):
    """How it is made, and the shape of a batch."""

    make: Callable[[], nn.Module]
    shape: Tuple[int, ...]


IMAGES = functools.partial(Model, shape=(8, 3, 224, 224))
MODELS: Dict[str, Model] = {
    "resnet50": IMAGES(resnet50),
    "mobilenet_v2": IMAGES(mobilenet_v2),
    "densenet121": IMAGES(densenet121),
    "efficientnet_b0": IMAGES(efficientnet_b0),
    "pointnet": Model(pointnet, (32, 3, 1024)),
    "unet3d": Model(UNet, (1, 1, 64, 64, 64)),
    "tcn": Model(tcn, (8, 12, 4096)),
}
