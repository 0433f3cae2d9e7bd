# SPDX-License-Identifier: Apache-2.0
"""AlexNet and ZFNet for 32x32 images.

Papers: A. Krizhevsky, I. Sutskever, G. Hinton, "ImageNet Classification with Deep Convolutional Neural Networks", NIPS
2012; M. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, figure 3.

Differs from the papers: five convolutions as there, of AlexNet's later widths (A. Krizhevsky, 2014, arXiv 1404.5997)
and of ZFNet's, but for the kernels: the first has 5x5 and no stride, ZFNet's second 3x3. Poolings of 2x2 leave 4x4
pixels. Batch norms behind the convolutions replace local response normalisation, which makes short trainings possible;
hidden linear layers have 1,024 units instead of 4,096. They then hold two thirds of AlexNet's weights, not 95 %.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

FORMS = {  # widths and kernels of the convolutions
    "alexnet": ((64, 192, 384, 256, 256), (5, 5, 3, 3, 3)),
    "zfnet": ((96, 256, 384, 384, 256), (5, 3, 3, 3, 3)),
}
POOLED = (0, 1, 4)  # the convolutions that a pooling follows
HIDDEN = 1024


class CifarAlexNet(nn.Module):
    """(N, 3, 32, 32) -> (N, classes)"""

    input_shape: ClassVar[tuple[int, int, int]] = (3, 32, 32)

    def __init__(self, form: str = "alexnet", classes: int = 10) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got '{form}'")
        layers: list[nn.Module] = []
        channels = 3
        for place, (width, kernel) in enumerate(zip(*FORMS[form], strict=True)):
            layers += [nn.Conv2d(channels, width, kernel, padding="same", bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            if place in POOLED:
                layers.append(nn.MaxPool2d(2))
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(channels * 4 * 4, HIDDEN),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.classifier(self.features(x).flatten(1))
        return out
