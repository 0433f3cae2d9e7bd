# SPDX-License-Identifier: Apache-2.0
"""MobileNetV2 for 32x32 images.

Paper: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2.

Differs from the paper: as in the CIFAR version that pruning papers measure
(github.com/kuangliu/pytorch-cifar), the stem and the second stage keep their resolution (strides 1, 1, 2,
2, 1, 2, 1 instead of 1, 2, 2, 2, 1, 2, 1), ReLU replaces ReLU6, the first stage expands by 1 but keeps its
expanding convolution, and a stride-1 block whose width changes has a 1x1 convolution and a batch norm as
its shortcut: 2.297 M parameters, 91.2 M multiply-adds.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

STAGES = (  # expansion, width, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; (N, C, H, W) -> (N, K, H/stride, W/stride)"""

    def __init__(self, channels: int, width: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = channels * expansion
        self.conv1 = nn.Conv2d(channels, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.stride = stride
        self.shortcut = nn.Sequential()
        if stride == 1 and channels != width:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: torch.Tensor = y + self.shortcut(x) if self.stride == 1 else y
        return out


class CifarMobileNetV2(nn.Module):
    """(N, 3, 32, 32) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, width, count, stride in STAGES:
            for block in range(count):
                blocks.append(InvertedResidual(channels, width, expansion, stride if block == 0 else 1))
                channels = width
        self.layers = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(channels, 1280, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(1280)
        self.linear = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layers(functional.relu(self.bn1(self.conv1(x))))  # (N, 320, 4, 4)
        x = functional.relu(self.bn2(self.conv2(x))).mean((2, 3))  # (N, 1280)
        out: torch.Tensor = self.linear(x)
        return out
