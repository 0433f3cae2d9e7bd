# SPDX-License-Identifier: Apache-2.0
"""SSDLite: a MobileNet, smaller maps after it, and on each map two separable convolutions that say boxes and classes.

Papers: M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv 1801.04381,
section 6.2; W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, arXiv 1512.02325, sections 2.1 and 2.2.

    maps        strides 16 and 32 of the backbone; then each half of the one before, rounded up, until one cell is left:
                20, 10, 5, 3, 2, 1 of 320 pixels; 14, 7, 4, 2, 1 of 224
    a half      [1x1 to half the channels, 3x3 of each channel at stride 2, 1x1 to 512, 256, 256, then 128 channels]
    predictor   [3x3 of each channel, 1x1 to 4 or 1 + classes numbers an anchor]
    anchors     on map k of m: scale s_k = s_min + (s_max - s_min) k / (m - 1), and for each ratio r of width to height
                s_k sqrt(r) wide and s_k / sqrt(r) high; after r = 1 another one, sqrt(s_k s_k+1) wide and high, s_m = 1

Every convolution but the predictors' last has a batch norm and a ReLU6.

Differs from the papers:
1. As many maps as the size has halves, where SSDLite has six whatever the size.
2. Every map has the same ratios, 1, 2, 1/2, 3 and 1/3, where SSD leaves out 3 and 1/3 on three of its maps. `ratios`
   are for the objects at hand: people who stand are a third as wide as high, ratios 1, 1/2, 1/3.
3. Scales are 0.2 to 0.95, as in the authors' code of SSDLite (TensorFlow's object detection), where SSD has 0.2 to 0.9;
   no anchor is wider or higher than the picture.
4. Maps after the backbone follow `width` too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn

from gossamer.detection import Head, Level
from gossamer.kinds.multibox_loss import MultiboxLoss
from gossamer.near import meant
from gossamer.zoo.mobilenet_backbones import MobileNetV1, MobileNetV2, convolution, scaled

RATIOS = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)
SCALES = (0.2, 0.95)
MORE_MAPS = (512, 256, 256, 128)  # channels of the maps after the backbone; further ones have as many as the last
SMALLEST = 32  # pixels
SPREAD = 0.03  # of the predictors' weights at the start, as in the authors' code
BACKBONES: Mapping[str, type[MobileNetV1] | type[MobileNetV2]] = {
    "mobilenetv1": MobileNetV1,
    "mobilenetv2": MobileNetV2,
}

Size = tuple[int, int]
Boxes = tuple[tuple[float, float], ...]


class SSDLite(nn.Module):
    """(N, 3, H, W) -> (N, A, 4 + 1 + classes): offsets of boxes, then logits of the background and of the classes

    `size` is a side or (height, width). `width` is that of the backbone and of the maps after it; its weights come from
    `load_backbone(network.backbone, path)`.
    """

    def __init__(
        self,
        classes: int = 1,
        size: int | Size = 320,
        width: float = 1.0,
        backbone: str = "mobilenetv2",
        ratios: Sequence[float] = RATIOS,
        scales: tuple[float, float] = SCALES,
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(
                f"backbone must be one of {', '.join(BACKBONES)}, got '{backbone}'{meant(backbone, BACKBONES)}"
            )
        height, wide = (size, size) if isinstance(size, int) else size
        if min(height, wide) < SMALLEST:
            raise ValueError(f"size of SSDLite must be at least {SMALLEST} pixels, got {height}x{wide}")
        self.input_shape = (3, height, wide)
        self.backbone = BACKBONES[backbone](width)
        grids = map_sizes(height, wide)
        anchors = default_boxes(len(grids), ratios, scales)
        levels = tuple(Level(*grid, boxes) for grid, boxes in zip(grids, anchors, strict=True))
        self.head = Head(levels, "offsets", "softmax", classes, threshold=0.01, overlap=0.45, most=200)
        self.criterion = MultiboxLoss(self.head)
        further = [scaled(MORE_MAPS[min(k, len(MORE_MAPS) - 1)], width) for k in range(len(grids) - 2)]
        channels = [*self.backbone.channels, *further]
        self.halves = nn.ModuleList(_half(above, here) for above, here in pairwise(channels[1:]))
        count = len(anchors[0])
        self.boxes = nn.ModuleList(_predictor(here, count * 4) for here in channels)
        self.scores = nn.ModuleList(_predictor(here, count * (1 + classes)) for here in channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = list(self.backbone(x))
        for half in self.halves:
            maps.append(half(maps[-1]))
        width = 1 + self.head.classes
        boxes = [_by_anchor(predict(one), 4) for predict, one in zip(self.boxes, maps, strict=True)]
        scores = [_by_anchor(predict(one), width) for predict, one in zip(self.scores, maps, strict=True)]
        return torch.cat([torch.cat(boxes, 1), torch.cat(scores, 1)], 2)


def map_sizes(height: int, width: int) -> list[Size]:
    """Rows and columns of each map of an image.

    >>> map_sizes(320, 320)
    [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    """
    sizes = [(-(-height // 16), -(-width // 16))]
    while len(sizes) == 1 or sizes[-1] != (1, 1):
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


def default_boxes(maps: int, ratios: Sequence[float], scales: tuple[float, float]) -> list[Boxes]:
    """Width and height of the anchors of each map, relative to the picture.

    >>> [[(round(w, 3), round(h, 3)) for w, h in boxes] for boxes in default_boxes(2, (1.0, 0.25), (0.2, 0.8))]
    [[(0.2, 0.2), (0.4, 0.4), (0.1, 0.4)], [(0.8, 0.8), (0.894, 0.894), (0.4, 1.0)]]
    """
    if not ratios or min(ratios) <= 0:
        raise ValueError(f"ratios of anchors, width to height, must be above 0, got {list(ratios)}")
    low, high = scales
    if not 0 < low < high <= 1:
        raise ValueError(f"scales of anchors must be two numbers that rise, above 0 and up to 1, got {list(scales)}")
    steps = [low + (high - low) * k / (maps - 1) for k in range(maps)]
    found = []
    for here, after in pairwise([*steps, 1.0]):
        boxes: list[tuple[float, float]] = []
        for ratio in ratios:
            boxes.append((min(1.0, here * ratio**0.5), min(1.0, here / ratio**0.5)))
            if ratio == 1:
                side = (here * after) ** 0.5
                boxes.append((side, side))
        found.append(tuple(boxes))
    return found


def _half(inputs: int, outputs: int) -> nn.Sequential:
    """A map of half the rows and columns, rounded up."""
    inner = outputs // 2
    return nn.Sequential(
        convolution(inputs, inner),
        convolution(inner, inner, 3, 2, groups=inner),
        convolution(inner, outputs),
    )


def _predictor(inputs: int, outputs: int) -> nn.Sequential:
    last = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(last.weight, std=SPREAD)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(convolution(inputs, inputs, 3, groups=inputs), last)


def _by_anchor(x: torch.Tensor, width: int) -> torch.Tensor:
    """(N, boxes * width, H, W) -> (N, H * W * boxes, width)"""
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, width)
