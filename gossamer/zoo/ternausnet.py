# SPDX-License-Identifier: Apache-2.0
"""TernausNet: a U-Net whose encoder is VGG-11 or VGG-16, for one class of pixels or several.

Paper: V. Iglovikov, A. Shvets, "TernausNet: U-Net with VGG11 Encoder Pre-Trained on ImageNet for Image Segmentation",
2018, arXiv 1801.05746, figures 1 and 3; widths of the decoder, and the whole of the deeper network, from the authors'
code (github.com/ternaus/TernausNet).

    encoder    stages of 3x3 convolutions, a max pooling of 2x2 after each
    center     512 -> 512, doubled to 256
    dec5..2    [decoder, skip] -> 3x3 -> transposed convolution of stride 2
    dec1       [decoder, skip] -> 3x3
    final      1x1 -> one logit a pixel, or one for each class

Differs from the paper:
1. Weights start at random (decoder_layers.py); the paper's encoder was trained on ImageNet first. Names of parameters
   are our own.
2. `width` scales all widths; 64 is the paper's. `batch_norm` puts a batch norm behind each convolution but the last,
   for short trainings from nothing; the paper has none.
3. Of the deeper network the authors' code has two forms; this is the one with transposed convolutions (4x4), not the
   one that interpolates.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from gossamer.zoo.decoder_layers import check_width, convolutions, started, up_convolution

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3)}  # per stage of the encoder
KERNELS = {11: 3, 16: 4}  # of the transposed convolutions
STAGES = (2, 4, 8, 16, 16)  # widths of the encoder's stages, in units of half the base width: the paper's nf = 32
INSIDE = (16, 16, 16, 8, 4)  # between the two layers of center and of dec5 to dec2, in the same units
GIVES = {11: (8, 8, 4, 2, 1), 16: (8, 8, 8, 2, 1)}  # what they give


class TernausNet(nn.Module):
    """(N, 3, H, W) -> (N, classes, H, W), logits; H and W are multiples of 32"""

    input_shape: ClassVar[tuple[int, int, int]] = (3, 256, 256)

    def __init__(self, depth: int = 11, classes: int = 1, width: int = 64, batch_norm: bool = False) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            raise ValueError(f"depth must be one of {', '.join(map(str, CONVOLUTIONS))}, got {depth}")
        check_width(width, 2, "TernausNet")
        unit = width // 2
        stages = [unit * stage for stage in STAGES]
        self.encoder = nn.ModuleList()
        channels = 3
        for count, stage in zip(CONVOLUTIONS[depth], stages, strict=True):
            self.encoder.append(convolutions(channels, *[stage] * count, batch_norm=batch_norm))
            channels = stage
        blocks = []
        skips = [0, *stages[:0:-1]]  # center reads the encoder's end alone, dec5 to dec2 a skip each
        for skip, inside, gives in zip(skips, INSIDE, GIVES[depth], strict=True):
            up = up_convolution(unit * inside, unit * gives, KERNELS[depth], batch_norm=batch_norm)
            blocks.append(nn.Sequential(*convolutions(channels + skip, unit * inside, batch_norm=batch_norm), *up))
            channels = unit * gives
        self.center, self.dec5, self.dec4, self.dec3, self.dec2 = blocks
        self.dec1 = convolutions(channels + stages[0], unit, batch_norm=batch_norm)
        self.final = started(nn.Conv2d(unit, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.center(x)
        for block, skip in zip((self.dec5, self.dec4, self.dec3, self.dec2), skips[:0:-1], strict=True):
            x = block(torch.cat([x, skip], 1))
        out: torch.Tensor = self.final(self.dec1(torch.cat([x, skips[0]], 1)))
        return out
