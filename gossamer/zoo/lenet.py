# SPDX-License-Identifier: Apache-2.0
"""The two networks for 28x28 digits that pruning papers start with: LeNet-300-100 and LeNet-5.

Paper: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition",
Proceedings of the IEEE 86 (1998).

LeNet-5 has the sizes of Caffe's example (20 and 50 filters of 5x5, 500 hidden units), the ones that Deep
Compression and Dynamic Network Surgery report: 431,080 parameters. As there, the only ReLU follows the
hidden layer, and layers are named conv1, conv2, ip1, ip2. LeNet-300-100 has 266,610 parameters. With batch norms, which
network slimming needs, LeNet-5 has one behind each layer but the last, and 432,220 parameters.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional


class LeNet5(nn.Module):
    """(N, 1, 28, 28) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)

    def __init__(self, classes: int = 10, batch_norm: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.ip1 = nn.Linear(50 * 4 * 4, 500)
        self.ip2 = nn.Linear(500, classes)
        self.bn1: nn.Module = nn.BatchNorm2d(20) if batch_norm else nn.Identity()
        self.bn2: nn.Module = nn.BatchNorm2d(50) if batch_norm else nn.Identity()
        self.bn3: nn.Module = nn.BatchNorm1d(500) if batch_norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(self.bn1(self.conv1(x)), 2)  # (N, 20, 12, 12)
        x = functional.max_pool2d(self.bn2(self.conv2(x)), 2)  # (N, 50, 4, 4)
        out: torch.Tensor = self.ip2(functional.relu(self.bn3(self.ip1(x.flatten(1)))))
        return out


class LeNet300100(nn.Module):
    """(N, 1, 28, 28) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (1, 28, 28)

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.ip1 = nn.Linear(28 * 28, 300)
        self.ip2 = nn.Linear(300, 100)
        self.ip3 = nn.Linear(100, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.ip2(functional.relu(self.ip1(x.flatten(1)))))
        out: torch.Tensor = self.ip3(x)
        return out
