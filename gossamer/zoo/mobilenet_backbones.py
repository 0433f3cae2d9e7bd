# SPDX-License-Identifier: Apache-2.0
"""MobileNets without their classifier, as detectors use them: two maps of an image, at strides 16 and 32.

MobileNetV1 with its classifier, for the published weights as they are, is here too.

Papers: A. Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017,
arXiv 1704.04861, table 1; M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018,
arXiv 1801.04381, table 2.

    MobileNetV1   stride 16: the 11th separable convolution        stride 32: the 13th
    MobileNetV2   stride 16: the expansion of the first block of   stride 32: the last 1x1 convolution
                  160 channels (section 6.2, "layer 15")

Differs from the papers:
1. ReLU6 in MobileNetV1, as its published weights have it; its paper has ReLU.
2. Where MobileNetV2 halves a map it pads by a pixel on each side, as torchvision does. MobileNetV1 pads as TensorFlow
   does, in which its published weights were trained: padded evenly, they had 31.0 % instead of 50.2 % of 1,000 images
   right (width 0.25, images of the NIPS 2017 adversarial set). The classifier pads evenly: kernels and images turned by
   180 degrees (`Preprocess.turned`) come to the same, and no operator is spent on it.
3. All channels of MobileNetV2 follow the width, the last layer's too; the paper keeps its 1280 below width 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn import functional

from gossamer.zoo.weight_files import read_weights

V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
V1_FINE = 11  # separable convolutions up to the map of stride 16
V2_STAGES = (  # expansion, channels, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
V2_FINE = 13  # the block whose expansion is the map of stride 16, counted from 0
V2_LAST = 1280
CLASSIFIERS = ("fc.", "linear.", "classifier.")
SHOWN = 3  # names in an error

Backbone = TypeVar("Backbone", bound=nn.Module)


class Maps(NamedTuple):
    """What a detector reads of an image: (N, C, H/16, W/16) and (N, K, H/32, W/32), rounded up."""

    fine: torch.Tensor
    coarse: torch.Tensor


class PaddedAtTheEnd(nn.Conv2d):
    """A 3x3 convolution of stride 2 that pads as TensorFlow does: even sizes at the bottom and right alone"""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        return super().forward(functional.pad(x, (width % 2, 1, height % 2, 1)))


def convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, active: bool = True
) -> nn.Sequential:
    """A convolution, its batch norm, and where `active` a ReLU6; (H, W) stay, or are halved and rounded up."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return _normed(layer, [nn.ReLU6(inplace=True)] * active)


def _tensorflows(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, *, groups: int = 1, evenly: bool = False
) -> nn.Sequential:
    """The same with TensorFlow's padding, unless `evenly`, and its small number in batch norms."""
    if stride == 1 or evenly:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    else:
        layer = PaddedAtTheEnd(inputs, outputs, kernel, stride, groups=groups, bias=False)
    return _normed(layer, [nn.ReLU6(inplace=True)], eps=1e-3)


def _normed(layer: nn.Conv2d, further: Sequence[nn.Module], eps: float = 1e-5) -> nn.Sequential:
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels, eps), *further)


def scaled(channels: int, width: float) -> int:
    """Channels at a width: a multiple of 8, at least 8, and never less than nine tenths of what was asked for.

    >>> scaled(32, 1.0), scaled(24, 0.5), scaled(96, 0.35)
    (32, 16, 32)
    """
    wanted = channels * width
    found = max(8, int(wanted + 4) // 8 * 8)
    return found if found >= 0.9 * wanted else found + 8


class MobileNetV1(nn.Module):
    """(N, 3, H, W) -> maps of 512 and 1024 channels, times the width; modules are named as in Gossamer's weights"""

    def __init__(self, width: float = 0.25) -> None:
        super().__init__()
        self.stem, self.blocks, channels = _v1_layers(width)
        self.channels = (int(V1_BLOCKS[V1_FINE - 1][0] * width), channels)

    def forward(self, x: torch.Tensor) -> Maps:
        x = self.stem(x)
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number == 2 * V1_FINE:
                fine = x
        return Maps(fine, x)


class MobileNetV1Classifier(nn.Module):
    """(N, 3, H, W) -> (N, classes), padded evenly: weights of TensorFlow want kernels and images that are turned."""

    def __init__(self, classes: int = 1000, width: float = 0.25) -> None:
        super().__init__()
        self.stem, self.blocks, channels = _v1_layers(width, evenly=True)
        self.fc = nn.Linear(channels, classes)
        self.input_shape = (3, 224, 224)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.fc(self.blocks(self.stem(x)).mean((2, 3)))
        return scores


def _v1_layers(width: float, *, evenly: bool = False) -> tuple[nn.Sequential, nn.Sequential, int]:
    """Stem, separable convolutions, and the channels that come out of them."""
    channels = int(32 * width)
    stem = _tensorflows(3, channels, 3, 2, evenly=evenly)
    blocks: list[nn.Module] = []
    for wide, stride in V1_BLOCKS:
        blocks.append(_tensorflows(channels, channels, 3, stride, groups=channels, evenly=evenly))
        blocks.append(_tensorflows(channels, int(wide * width)))
        channels = int(wide * width)
    return stem, nn.Sequential(*blocks), channels


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project; gives what it expanded to, and its result"""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = convolution(inputs, wide) if expansion > 1 else nn.Identity()
        self.depthwise = convolution(wide, wide, 3, stride, groups=wide)
        self.project = convolution(wide, outputs, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        wide = self.expand(x)
        y = self.project(self.depthwise(wide))
        return wide, x + y if self.residual else y


class MobileNetV2(nn.Module):
    """(N, 3, H, W) -> maps of 576 and 1280 channels at width 1"""

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = scaled(32, width)
        self.stem = convolution(3, channels, 3, 2)
        blocks: list[nn.Module] = []
        for expansion, wide, count, stride in V2_STAGES:
            for number in range(count):
                if len(blocks) == V2_FINE:
                    fine = channels * expansion
                blocks.append(InvertedResidual(channels, scaled(wide, width), expansion, stride if number == 0 else 1))
                channels = scaled(wide, width)
        self.blocks = nn.ModuleList(blocks)
        self.last = convolution(channels, scaled(V2_LAST, width))
        self.channels = (fine, scaled(V2_LAST, width))

    def forward(self, x: torch.Tensor) -> Maps:
        x = self.stem(x)
        for number, block in enumerate(self.blocks):
            wide, x = block(x)
            if number == V2_FINE:
                fine = wide
        return Maps(fine, self.last(x))


def load_backbone(backbone: Backbone, path: Path, *, turned: bool = False) -> Backbone:
    """Put the weights of a classifier of the same architecture and width into a backbone; its last layer is left out.

    For MobileNetV1 files with names as here, for MobileNetV2 also those of torchvision's `mobilenet_v2`. `turned`: the
    file's kernels are turned by 180 degrees, to read turned images (`Preprocess.turned`) with even padding; here they
    are turned back, so that images and boxes stay upright. Raises ValueError where tensors are missing, left over, or
    of another shape.
    """
    given = {_renamed(name): tensor for name, tensor in read_weights(path).items() if not name.startswith(CLASSIFIERS)}
    if turned:
        given = {name: tensor.flip(-2, -1) if tensor.ndim == 4 else tensor for name, tensor in given.items()}
    expected = {name: tuple(tensor.shape) for name, tensor in backbone.state_dict().items()}
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    there = {name: tuple(tensor.shape) for name, tensor in given.items()}
    misfits = [name for name in (expected.keys() | there.keys()) - counters if expected.get(name) != there.get(name)]
    if misfits:
        shown = ", ".join(sorted(misfits)[:SHOWN])
        raise ValueError(
            f"expected weights of a {type(backbone).__name__} of {len(expected)} tensors in {path}, got {len(misfits)} "
            f"that are missing, left over or of another shape ({shown}{', ...' * (len(misfits) > SHOWN)}); "
            "check architecture and width"
        )
    backbone.load_state_dict(given, strict=False)
    return backbone


def _renamed(name: str) -> str:
    """A name of torchvision's mobilenet_v2 as ours; other names stay.

    >>> _renamed("features.0.0.weight"), _renamed("features.1.conv.0.0.weight"), _renamed("features.1.conv.1.weight")
    ('stem.0.weight', 'blocks.0.depthwise.0.weight', 'blocks.0.project.0.weight')
    >>> _renamed("features.2.conv.0.1.bias"), _renamed("features.2.conv.3.bias"), _renamed("features.18.0.weight")
    ('blocks.1.expand.1.bias', 'blocks.1.project.1.bias', 'last.0.weight')
    """
    found = re.fullmatch(r"features\.(\d+)\.(?:conv\.)?(.+)", name)
    if found is None:
        return name
    number, rest = int(found[1]), found[2]
    if ".conv." not in name:
        return f"{'last' if number else 'stem'}.{rest}"
    parts = ("depthwise", "project") if number == 1 else ("expand", "depthwise", "project")  # the first expands by 1
    place, _, inner = rest.partition(".")
    if int(place) < len(parts) - 1:
        return f"blocks.{number - 1}.{parts[int(place)]}.{inner}"
    return f"blocks.{number - 1}.project.{int(place) - len(parts) + 1}.{inner}"  # its convolution, then its norm
