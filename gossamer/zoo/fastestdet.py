# SPDX-License-Identifier: Apache-2.0
"""FastestDet: a quarter of a million weights, one map of 22x22 cells, and in each of them one object at most.

Source: github.com/dog-qiuqiu/FastestDet, module/detector.py, commit 50473cd (BSD-3); its backbone is that of N. Ma et
al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018, arXiv 1807.11164, figure 3,
with 48, 96 and 192 channels.

    backbone      3x3 at stride 2, max pooling; stages of 4, 8 and 4 blocks at strides 8, 16 and 32
    SPP           the three stages at stride 16, joined to 96 channels; x + [one, two and three 5x5 of each channel]
    detect_head   1x1, then for objectness, boxes and classes each [5x5 of each channel, 1x1]

Modules have the source's names, so that `load_weights` reads its files; they read BGR / 255 at 352x352 pixels. With the
weights that it publishes, asked for people alone, it has an average precision of 91.8 % at IoU 0.5 on 235 images of
pedestrians (INRIA Person and Penn-Fudan).

Differs from the source:
1. The outputs are logits, boxes first; sigmoid and softmax are in the head, outside the network.
2. It tells the 80 classes of COCO apart even where fewer are asked for, the first ones: with one class alone its
   softmax would be 1, and the score a weaker one. Class 0 is a person.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from gossamer.detection import Head, Level
from gossamer.kinds.fastestdet_loss import FastestDetLoss

COCO_CLASSES = 80
STRIDE = 16  # pixels a cell
MULTIPLE = 32  # of which sizes are
STEM = 24
STAGES = (("stage2", 48, 4), ("stage3", 96, 8), ("stage4", 192, 4))  # name, channels, blocks
JOINED = 96


class FastestDet(nn.Module):
    """(N, 3, H, W) -> (N, H W / 256, 4 + 1 + max(80, classes)): of a box, logits of objectness and of classes"""

    def __init__(self, classes: int = 80, size: int | tuple[int, int] = 352) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        if height % MULTIPLE or width % MULTIPLE or min(height, width) < MULTIPLE:
            raise ValueError(f"size of FastestDet must be a multiple of {MULTIPLE} pixels, got {height}x{width}")
        self.input_shape = (3, height, width)
        rows, columns = height // STRIDE, width // STRIDE
        level = Level(rows, columns, ((1 / columns, 1 / rows),))
        others = max(0, COCO_CLASSES - classes)
        self.head = Head((level,), "cells", "objectness", classes, threshold=0.01, overlap=0.45, others=others)
        self.criterion = FastestDetLoss(self.head)
        self.backbone = ShuffleNetV2()
        self.SPP = JoinedMaps(sum(channels for _, channels, _ in STAGES))
        self.detect_head = DetectHead(classes + others)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.detect_head(self.SPP(self.backbone(x)))  # (N, E, H/16, W/16)
        return out.flatten(2).transpose(1, 2)


class ShuffleNetV2(nn.Module):
    """(N, 3, H, W) -> maps of 48, 96 and 192 channels at strides 8, 16 and 32"""

    def __init__(self) -> None:
        super().__init__()
        self.first_conv = _convolution(3, STEM, 3, 2)
        channels = STEM
        for name, outputs, count in STAGES:
            first = ShuffleBlock(channels, outputs, stride=2)
            more = [ShuffleBlock(outputs // 2, outputs, stride=1) for _ in range(count - 1)]
            self.add_module(name, nn.Sequential(first, *more))
            channels = outputs

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = functional.max_pool2d(self.first_conv(x), 3, 2, 1)
        maps = []
        for name, _, _ in STAGES:
            x = self.get_submodule(name)(x)
            maps.append(x)
        return maps


class ShuffleBlock(nn.Module):
    """Halves of the channels go two ways: at stride 1 the even ones stay as they are; (N, C, H, W) -> (N, K, ...)"""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 2
        self.branch_main = nn.Sequential(
            *_convolution(inputs, inner),
            *_convolution(inner, inner, 3, stride, groups=inner, active=False),
            *_convolution(inner, outputs - inputs),
        )
        self.branch_proj = (
            nn.Sequential(
                *_convolution(inputs, inputs, 3, stride, groups=inputs, active=False), *_convolution(inputs, inputs)
            )
            if stride == 2
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.branch_proj is not None:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        return torch.cat([x[:, 0::2], self.branch_main(x[:, 1::2])], 1)


class JoinedMaps(nn.Module):
    """Three maps at stride 16, and what larger and larger surroundings add: -> (N, 96, H/16, W/16)"""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.Conv1x1 = Named("conv1x1", *_convolution(inputs, JOINED))
        self.S1 = nn.Sequential(*_wide())
        self.S2 = nn.Sequential(*_wide(), *_wide())
        self.S3 = nn.Sequential(*_wide(), *_wide(), *_wide())
        self.output = _convolution(3 * JOINED, JOINED, active=False)

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        fine, middle, coarse = maps
        pooled = functional.avg_pool2d(fine, 3, 2, 1)
        x = self.Conv1x1(torch.cat([pooled, middle, functional.interpolate(coarse, scale_factor=2)], 1))
        return functional.relu(x + self.output(torch.cat([self.S1(x), self.S2(x), self.S3(x)], 1)))


class DetectHead(nn.Module):
    """(N, 96, H, W) -> (N, 4 + 1 + classes, H, W)"""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1x1 = Named("conv1x1", *_convolution(JOINED, JOINED))
        self.obj_layers = Named("conv5x5", *_wide(), *_convolution(JOINED, 1, active=False))
        self.reg_layers = Named("conv5x5", *_wide(), *_convolution(JOINED, 4, active=False))
        self.cls_layers = Named("conv5x5", *_wide(), *_convolution(JOINED, classes, active=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1x1(x)
        return torch.cat([self.reg_layers(x), self.obj_layers(x), self.cls_layers(x)], 1)


class Named(nn.Module):
    """Layers one after the other, under one more name, as the source has them."""

    def __init__(self, name: str, *layers: nn.Module) -> None:
        super().__init__()
        self.add_module(name, nn.Sequential(*layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layers in self.children():
            x = layers(x)
        return x


def _wide() -> nn.Sequential:
    """5x5 of each channel."""
    return _convolution(JOINED, JOINED, 5, groups=JOINED)


def _convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, active: bool = True
) -> nn.Sequential:
    """A convolution, its batch norm, and where `active` a ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), *[nn.ReLU(inplace=True)] * active)
