# SPDX-License-Identifier: Apache-2.0
"""MobileNet (the first) for 32x32 images.

Paper: A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017,
arXiv 1704.04861, table 1.

Differs from the paper: as in the usual CIFAR version (github.com/kuangliu/pytorch-cifar) the stem and the first block
keep their resolution, so that the last maps are 2x2.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


class CifarMobileNet(nn.Module):
    """(N, 3, 32, 32) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU()]
        channels = 32
        for width, stride in BLOCKS:
            layers += [nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)]
            layers += [nn.BatchNorm2d(channels), nn.ReLU()]
            layers += [nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.linear(self.layers(x).mean((2, 3)))
        return out
