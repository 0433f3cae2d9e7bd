# SPDX-License-Identifier: Apache-2.0
"""Small maps: convolutions of many channels on few positions, as products of matrices.

On a CPU a convolution of 512 channels on a 2x2 map spends its time in bringing its weights into another order. As a
product of matrices, columns (N h w, k k I) times weights (k k I, O), it takes an eighth of the time, on 4x4 maps a
third: VGG-16 trains 1.7 times as fast on 32x32 images (bfloat16, two cores). On larger maps the columns cost more than
they save.

    forward   Y = columns(X) W        backward   dW = columns(X)^T dY,   dX = dY W^T, added up where columns() took it
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST_POSITIONS, FEWEST_WEIGHTS = 16, 2**16  # of the map that comes out, of the kernel


def gains(
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    groups: int,
) -> bool:
    """Whether a convolution of these arguments, those of torch, is faster as a product."""
    if x.ndim != 4 or transposed or groups != 1 or set(dilation) != {1} or x.device.type != "cpu":
        return False
    positions = math.prod(_outputs(x, weight, stride, padding))
    return positions <= MOST_POSITIONS and weight.numel() >= FEWEST_WEIGHTS


def _outputs(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> tuple[int, int]:
    """Height and width of the map that comes out."""
    height, width = ((x.shape[2 + d] + 2 * padding[d] - weight.shape[2 + d]) // stride[d] + 1 for d in range(2))
    return height, width


def _columns(x: Tensor, weight: Tensor, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """What each position sees: (N, C, H, W) -> (N h w, k k C), places of the kernel first, channels last."""
    (height, width), (down, right) = _outputs(x, weight, stride, padding), weight.shape[2:]
    padded = torch.nn.functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0]))
    n, row, column, channel = padded.stride()
    seen = padded.as_strided(
        (len(x), height, width, down, right, x.shape[1]),
        (n, row * stride[0], column * stride[1], row, column, channel),
    )
    return seen.reshape(len(x) * height * width, -1)


def _matrix(weight: Tensor) -> Tensor:
    """(O, I, k, k) -> (O, k k I)"""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]) -> Tensor:
    """(N, I, H, W), (O, I, k, k), (O,) -> (N, O, h, w)"""
    height, width = _outputs(x, weight, stride, padding)
    columns, matrix = _columns(x, weight, stride, padding), _matrix(weight).t()
    rows = columns @ matrix if bias is None else torch.addmm(bias, columns, matrix)
    return rows.reshape(len(x), height, width, -1).permute(0, 3, 1, 2)


def backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    wanted: Sequence[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias, each where it is wanted."""
    outputs, inputs, down, right = weight.shape
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, outputs)
    to_x = to_weight = None
    if wanted[0]:
        height, width = gradient.shape[2:]
        parts = (rows @ _matrix(weight)).reshape(len(x), height, width, down, right, inputs)
        # added up in float32: nine summands rounded one after the other would be coarser than a convolution's
        size = (len(x), x.shape[2] + 2 * padding[0], x.shape[3] + 2 * padding[1], inputs)
        whole = torch.zeros(size, dtype=torch.promote_types(x.dtype, torch.float32))
        for i in range(down):
            for j in range(right):
                there = whole[:, i : i + height * stride[0] : stride[0], j : j + width * stride[1] : stride[1]]
                there += parts[:, :, :, i, j]
        inner = whole[:, padding[0] : padding[0] + x.shape[2], padding[1] : padding[1] + x.shape[3]]
        to_x = inner.to(x.dtype).permute(0, 3, 1, 2)
    if wanted[1]:
        matrix = rows.t() @ _columns(x, weight, stride, padding)
        to_weight = matrix.reshape(outputs, down, right, inputs).permute(0, 3, 1, 2)
    return to_x, to_weight, rows.sum(0) if wanted[2] else None
