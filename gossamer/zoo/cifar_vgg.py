# SPDX-License-Identifier: Apache-2.0
"""VGG networks for 32x32 images, with batch norm and one linear layer.

Paper: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, table 1, columns D (16 layers) and E (19 layers).

Differs from the paper: as in Z. Liu et al., "Learning Efficient Convolutional Networks through Network
Slimming", ICCV 2017, section 4.2, batch norm follows every convolution (which then needs no bias), the last
pooling is an average over the 2x2 pixels that are left, and one linear layer replaces three: 20.04 M
parameters for 19 layers.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}  # per stage; a max pooling between two stages
WIDTHS = (64, 128, 256, 512, 512)


class CifarVGG(nn.Module):
    """(N, 3, 32, 32) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    def __init__(self, depth: int, classes: int = 10) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise ValueError(f"depth must be one of {', '.join(map(str, CONVOLUTIONS))}, got {depth}")
        layers: list[nn.Module] = []
        channels = 3
        for stage, (count, width) in enumerate(zip(CONVOLUTIONS[depth], WIDTHS, strict=True)):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x).mean((2, 3))  # (N, 512, 2, 2) -> (N, 512)
        out: torch.Tensor = self.classifier(x)
        return out
