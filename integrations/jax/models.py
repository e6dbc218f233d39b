# SPDX-License-Identifier: MIT
"""Networks in Flax, whose batch norms are of a class that is given: called norm(x), or with activation and residual."""
from typing import Any

import flax.linen as nn
import jax.numpy as jnp


def conv(features, size, stride=1):
    return nn.Conv(features, (size, size), stride, use_bias=False)


class ResNet50(nn.Module):
    """He et al. 2016, with 10 classes."""

    norm: Any

    @nn.compact
    def __call__(self, x):
        x = self.norm(conv(64, 7, 2)(x), "relu")
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for block in range(blocks):
                features, stride = 64 << stage, 2 if stage and not block else 1
                shortcut = x if block else self.norm(conv(4 * features, 1, stride)(x))
                x = self.norm(conv(features, 1)(x), "relu")
                x = self.norm(conv(features, 3, stride)(x), "relu")
                x = self.norm(conv(4 * features, 1)(x), "relu", shortcut)
        return nn.Dense(10)(x.mean((1, 2)))


class DenseNet121(nn.Module):
    """Huang et al. 2017, with 10 classes."""

    norm: Any

    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(self.norm(conv(64, 7, 2)(x), "relu"), (3, 3), (2, 2), "SAME")
        for stage, layers in enumerate((6, 12, 24, 16)):
            if stage:
                x = nn.avg_pool(conv(x.shape[-1] // 2, 1)(self.norm(x, "relu")), (2, 2), (2, 2))
            for _ in range(layers):
                new = conv(128, 1)(self.norm(x, "relu"))
                x = jnp.concatenate([x, conv(32, 3)(self.norm(new, "relu"))], -1)
        return nn.Dense(10)(self.norm(x, "relu").mean((1, 2)))


class PointNet(nn.Module):
    """Qi et al. 2017, without its transforms, with 10 classes; points are [batch, points, 3]."""

    norm: Any

    @nn.compact
    def __call__(self, x):
        for features in (64, 64, 64, 128, 1024):
            x = self.norm(nn.Dense(features, use_bias=False)(x), "relu")
        x = x.max(1)
        for features in (512, 256):
            x = self.norm(nn.Dense(features, use_bias=False)(x), "relu")
        return nn.Dense(10)(x)


MODELS = {"ResNet-50": (ResNet50, (8, 128, 128, 3)), "DenseNet-121": (DenseNet121, (8, 128, 128, 3)),
          "PointNet": (PointNet, (32, 1024, 3))}
