# SPDX-License-Identifier: Apache-2.0
"""DenseNet-40 for 32x32 images: three dense blocks of twelve layers, growth rate 12.

Paper: G. Huang, Z. Liu, L. van der Maaten, K. Weinberger, "Densely Connected Convolutional Networks", CVPR
2017, section 3 ("Implementation Details") and table 2: no bottlenecks, no compression, 16 channels before
the first block; 1.02 M parameters as in the paper's table ("1.0M") and in Network Slimming (ICCV 2017,
table 1).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional


class DenseLayer(nn.Module):
    """x beside conv(relu(bn(x))); (N, C, H, W) -> (N, C + growth, H, W)"""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, self.conv1(functional.relu(self.bn1(x)))), 1)


class Transition(nn.Module):
    """(N, C, H, W) -> (N, C, H/2, W/2)"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(self.conv1(functional.relu(self.bn1(x))), 2)


class CifarDenseNet(nn.Module):
    """(N, 3, 32, 32) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    def __init__(self, depth: int = 40, growth: int = 12, classes: int = 10) -> None:
        super().__init__()
        if depth % 3 != 1:
            raise ValueError(f"depth must be 3n + 4, got {depth}; use 40")
        layers = (depth - 4) // 3
        channels = 16
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        stages: list[nn.Module] = []
        for block in range(3):
            if block:
                stages.append(Transition(channels))
            for _ in range(layers):
                stages.append(DenseLayer(channels, growth))
                channels += growth
        self.stages = nn.Sequential(*stages)
        self.bn1 = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.stages(self.conv1(x)))).mean((2, 3))  # (N, 448)
        out: torch.Tensor = self.linear(x)
        return out
