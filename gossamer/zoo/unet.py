# SPDX-License-Identifier: Apache-2.0
"""U-Net: convolutions down to a sixteenth of the size and up again, each level joined with its other side.

Paper: O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI
2015, arXiv 1505.04597, figure 1.

    down    [3x3, 3x3] at 64, 128, 256, 512 channels, a max pooling of 2x2 after each
    bottom  [3x3, 3x3] at 1024
    up      2x2 up-convolution to half the channels, joined with the same level's channels, [3x3, 3x3]
    final   1x1

Differs from the paper:
1. Convolutions are padded, so the answer has the size of the image, and skips are joined whole, not cropped.
2. Three channels go in, and one logit a pixel comes out for one class; the paper has one channel and two classes.
3. No dropout at the end of the way down.
4. `width` scales all widths; 64 is the paper's. `batch_norm` puts a batch norm behind each 3x3 convolution, for short
   trainings; the paper has none.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from gossamer.zoo.decoder_layers import check_width, convolutions, started

LEVELS = (1, 2, 4, 8, 16)  # widths, in units of the base width


class UNet(nn.Module):
    """(N, 3, H, W) -> (N, classes, H, W), logits; H and W are multiples of 16"""

    input_shape: ClassVar[tuple[int, int, int]] = (3, 256, 256)

    def __init__(self, classes: int = 1, width: int = 64, batch_norm: bool = False) -> None:
        super().__init__()
        check_width(width, 1, "U-Net")
        widths = [width * level for level in LEVELS]
        self.down = nn.ModuleList(
            convolutions(above, here, here, batch_norm=batch_norm) for above, here in pairwise([3, *widths])
        )
        rising = list(pairwise(reversed(widths)))  # from the bottom: (below, here)
        self.up = nn.ModuleList(started(nn.ConvTranspose2d(below, here, 2, 2)) for below, here in rising)
        self.join = nn.ModuleList(convolutions(below, here, here, batch_norm=batch_norm) for below, here in rising)
        self.final = started(nn.Conv2d(width, classes, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level, down in enumerate(self.down):
            x = down(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
            x = join(torch.cat([skip, up(x)], 1))
        out: torch.Tensor = self.final(x)
        return out
