# SPDX-License-Identifier: Apache-2.0
"""Deep columnar convolutional networks: columns of convolutions beside each other, concatenated, stage after stage.

Paper: S. Majumdar, I. Jain, "Deep Columnar Convolutional Neural Network", International Journal of Computer
Applications 145(12), 2016, and the authors' code. The forms for MNIST and for CIFAR-10; convolutions of a column keep
the size of their maps, as Keras pads: even kernels one pixel more at the end.

Differs from the paper: weights start as torch starts them, where Keras 1 had its own way.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

SLOPE = 0.3  # of the leaky ReLU: the default of Keras 1


def column(channels: int, *layers: tuple[int, int], leaky: bool) -> nn.Sequential:
    """Convolutions (width, kernel) one after the other."""
    parts: list[nn.Module] = []
    for width, kernel in layers:
        activation = nn.LeakyReLU(SLOPE) if leaky else nn.ReLU()
        before, after = (kernel - 1) // 2, kernel // 2
        parts += [nn.ZeroPad2d((before, after, before, after))] if before != after else []
        parts += [nn.Conv2d(channels, width, kernel, padding=before if before == after else 0), activation]
        channels = width
    return nn.Sequential(*parts)


class Columns(nn.Module):
    """Columns side by side, (N, C, H, W) -> (N, sum of their widths, H, W)"""

    def __init__(self, *columns: nn.Module) -> None:
        super().__init__()
        self.columns = nn.ModuleList(columns)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([one(x) for one in self.columns], dim=1)


class MnistDCCNN(nn.Module):
    """(N, 1, 28, 28) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stage1 = Columns(*(column(1, (64, 5), leaky=False) for _ in range(2)))
        self.stage2 = Columns(*(column(128, (128, 4), leaky=False) for _ in range(2)))
        self.stage3 = Columns(*(column(256, (256, 3), leaky=False) for _ in range(6)))
        self.dropout = nn.Dropout()
        self.linear = nn.Linear(4 * 4 * 1536, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.stage1(x), 2)
        x = functional.max_pool2d(self.stage2(x), 2)
        x = functional.max_pool2d(self.stage3(x), 2, ceil_mode=True)  # (N, 1536, 4, 4)
        out: torch.Tensor = self.linear(self.dropout(x.flatten(1)))
        return out


class CifarDCCNN(nn.Module):
    """(N, 3, 32, 32) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stage1 = Columns(*(column(3, (96, kernel), (96, kernel), leaky=True) for kernel in (5, 3)))
        self.down1 = nn.Conv2d(192, 96, 5, 2, padding=2)
        self.bn1 = nn.BatchNorm2d(96)
        self.stage2 = Columns(*(column(96, (192, 3), (192, 3), leaky=True) for _ in range(2)))
        self.down2 = nn.Conv2d(384, 192, 3, 2, padding=1)
        self.bn2 = nn.BatchNorm2d(192)
        self.stage3 = Columns(*(column(192, (256, kernel), leaky=True) for kernel in (3, 1, 5)))
        self.down3 = nn.Conv2d(768, 192, 3, 2, padding=1)
        self.dropout = nn.Dropout()
        self.linear = nn.Linear(4 * 4 * 192, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.leaky_relu(self.bn1(self.down1(self.stage1(x))), SLOPE)
        x = functional.leaky_relu(self.bn2(self.down2(self.stage2(x))), SLOPE)
        x = functional.leaky_relu(self.down3(self.stage3(x)), SLOPE)  # (N, 192, 4, 4)
        out: torch.Tensor = self.linear(self.dropout(x.flatten(1)))
        return out
