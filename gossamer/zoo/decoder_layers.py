# SPDX-License-Identifier: Apache-2.0
"""Layers that networks for segmentation are made of: convolutions that keep the size of a map, and ones that double it.

Weights start as K. He et al. give them for ReLU ("Delving Deep into Rectifiers", ICCV 2015, equation 10): normal, of
variance 2 / taps, where taps is how many products an output sums. A transposed convolution of stride 2 sums a quarter
of kernel * kernel * inputs. With torch's own start, a sixth of that variance, logits of TernausNet-16 without batch
norm spread by 0.02 around zero on random images of 64x64 pixels; with this one by 1.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", nn.Conv2d, nn.ConvTranspose2d)


def convolutions(*widths: int, batch_norm: bool) -> nn.Sequential:
    """3x3 convolutions from widths[0] channels over widths[1] to the last, each with a ReLU; (H, W) stays."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += _activated(nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm), batch_norm)
    return nn.Sequential(*layers)


def up_convolution(inputs: int, outputs: int, kernel: int, *, batch_norm: bool) -> nn.Sequential:
    """A transposed convolution of stride 2, kernel 3 or 4, with a ReLU; (N, inputs, H, W) -> (N, outputs, 2H, 2W)"""
    layer = nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=1, output_padding=4 - kernel, bias=not batch_norm
    )
    return nn.Sequential(*_activated(layer, batch_norm))


def started(layer: Layer) -> Layer:
    """The layer, its weights drawn as above, its bias zero."""
    taps: float = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    if isinstance(layer, nn.ConvTranspose2d):
        taps /= layer.stride[0] * layer.stride[1]
    nn.init.normal_(layer.weight, std=(2 / taps) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _activated(layer: Layer, batch_norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [started(layer)]
    layers += [nn.BatchNorm2d(layer.out_channels)] if batch_norm else []
    return [*layers, nn.ReLU(inplace=True)]


def check_width(width: int, multiple: int, network: str) -> None:
    """Raise unless a network's base width is one that all its other widths follow from."""
    if width < multiple or width % multiple:
        raise ValueError(f"width of {network} must be a positive multiple of {multiple}, got {width}; its paper has 64")
