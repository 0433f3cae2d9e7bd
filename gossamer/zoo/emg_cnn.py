# SPDX-License-Identifier: Apache-2.0
"""A small network for gestures from surface electromyograms: a window of samples by electrodes is the picture.

Paper: A. Ameri, "EMG-based wrist gesture recognition using a convolutional neural network", Tehran University Medical
Journal 77(7), 2019, 434-439: windows of 167 ms from eight electrodes, one network for each person.

Differs from the paper: its layers are not known to us. Four convolutions of 5 samples by 3 electrodes, each with batch
norm and a pooling in time, then two linear layers, are our reading. The window has as many samples as the data's rate
gives: 33 at 200 Hz, where the paper had 200.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

WIDTHS = (32, 32, 64, 64)


class EmgCNN(nn.Module):
    """(N, 1, samples, electrodes) -> (N, classes), of 16 samples or more"""

    input_shape: ClassVar[tuple[int, int, int]] = (1, 33, 8)

    def __init__(self, classes: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in WIDTHS:
            layers += [nn.Conv2d(channels, width, (5, 3), padding="same", bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.MaxPool2d((2, 1))]
            channels = width
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Linear(channels, 64)
        self.dropout = nn.Dropout()
        self.linear = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.hidden(self.features(x).mean((2, 3))))
        out: torch.Tensor = self.linear(self.dropout(x))
        return out
