# SPDX-License-Identifier: Apache-2.0
"""A small classification task that trains in seconds: bright quadrant of a noisy image, four classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits
from gossamer.task import Task


def quadrants(n: int, seed: int, name: str) -> Split:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    images = rng.integers(0, 120, (n, 8, 8, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 60
    return Split(name, ArrayImages(images), labels.astype(np.int64))


class SmallNet(nn.Module):
    """Two convolutions with batch norm and a linear layer over four quadrants."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(4 * width, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(nn.functional.avg_pool2d(x, 4).flatten(1))


@pytest.fixture
def task() -> Task:
    torch.manual_seed(0)
    splits = Splits(
        quadrants(384, 1, "train"),
        quadrants(128, 2, "selection"),
        quadrants(128, 3, "test"),
        ("nw", "ne", "sw", "se"),
        (),
    )
    return Task.build(SmallNet(), Preprocess((0.5,) * 3, (0.25,) * 3, 8), splits, name="quadrants")
