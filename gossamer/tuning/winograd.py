# SPDX-License-Identifier: Apache-2.0
"""Winograd's convolution: 3x3 kernels of many channels with a quarter of the multiplications.

Paper: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv 1509.09308, section 4:
F(4x4, 3x3), a tile of 4x4 outputs from 6x6 inputs by 36 products where the definition takes 144.

    forward    Y  = A^T [(G g G^T) . (B^T d B)] A
    backward   dX = the same of dY with the kernels turned and in and out exchanged
               dG = G^T [(B^T d B) . (A dY A^T)] G

Each pair of small matrices, applied to rows and columns, is one 36x36 (16x36, 36x9) matrix here, their Kronecker
product, so that all tiles pass in one product of matrices. In float32 the result differs from a direct convolution by
1e-5 of its largest value. Two cores with AVX-512, 128 images, forward and backward: 128 channels on 16x16 took 85 ms
and take 60, 256 on 8x8 81 and 46, 512 on 4x4 119 and 49.

Differs from the paper: the tiles of some images at a time, so that what lies between stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

FEWEST_CHANNELS = 128  # in and out: below, moving costs what it saves
LARGEST_MAP, SMALLEST_MAP = 24, 4  # height and width: larger ones are moved too long, in smaller ones tiles lie empty
AT_ONCE = 2**15  # numbers of each of the 36 places


def _matrix(*rows: tuple[int, ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


_B = _matrix(
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_G = _matrix((6, 0, 0), (-4, -4, -4), (-4, 4, -4), (1, 2, 4), (1, -2, 4), (0, 0, 24)) / 24
_A = _matrix((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
INPUTS, KERNELS, OUTPUTS = (torch.kron(m, m).float() for m in (_B, _G, _A))  # (36, 36), (36, 9), (16, 36)


def gains(
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    groups: int,
) -> bool:
    """Whether a convolution of these arguments, those of torch, is faster this way."""
    usual = set(stride) == set(dilation) == {1} and not transposed and groups == 1 and set(padding) <= {0, 1, 2}
    if not usual or x.ndim != 4 or weight.shape[2:] != (3, 3) or x.dtype != torch.float32 or x.device.type != "cpu":
        return False
    height, width = _outputs(x, padding)
    fits = min(height, width) >= SMALLEST_MAP and max(height, width) <= LARGEST_MAP
    return fits and min(weight.shape[:2]) >= FEWEST_CHANNELS


def _outputs(x: Tensor, padding: Sequence[int]) -> tuple[int, int]:
    """Height and width of the map that comes out."""
    height, width = (x.shape[2 + d] + 2 * padding[d] - 2 for d in range(2))
    return height, width


def _tiles(x: Tensor, padding: Sequence[int]) -> tuple[Tensor, int, int]:
    """Overlapping tiles of 6x6 at every fourth place, as a view (6, 6, N, down, across, C); tiles down and across."""
    height, width = _outputs(x, padding)
    down, across = -(-height // 4), -(-width // 4)
    below, right = (count * 4 + 2 - x.shape[2 + d] - padding[d] for d, count in enumerate((down, across)))
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], right, padding[0], below)).contiguous()
    image, row, column, channel = padded.stride()
    size, strides = (6, 6, len(x), down, across, x.shape[1]), (row, column, image, 4 * row, 4 * column, channel)
    return padded.as_strided(size, strides), down, across


def _some(images: int, tiles: int, channels: int) -> Iterator[slice]:
    """Images so few at a time that their tiles stay in the cache."""
    step = max(1, AT_ONCE // (tiles * channels))
    return (slice(i, min(i + step, images)) for i in range(0, images, step))


def _in_products(tiles: Tensor) -> Tensor:
    """B^T d B of some tiles: (6, 6, n, down, across, C) -> (36, n down across, C)"""
    return (INPUTS @ tiles.reshape(36, -1)).reshape(36, -1, tiles.shape[-1])


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int]) -> Tensor:
    """(N, I, H, W), (O, I, 3, 3), (O,) -> (N, O, h, w), channels last"""
    tiles, down, across = _tiles(x, padding)
    inputs, outputs = x.shape[1], len(weight)
    kernels = (KERNELS @ weight.permute(2, 3, 1, 0).reshape(9, -1)).reshape(36, inputs, outputs)
    found = x.new_empty(len(x), down, 4, across, 4, outputs)
    for some in _some(len(x), down * across, max(inputs, outputs)):
        products = torch.bmm(_in_products(tiles[:, :, some]), kernels)
        places = (OUTPUTS @ products.reshape(36, -1)).reshape(4, 4, -1, down, across, outputs)
        found[some] = places.permute(2, 3, 0, 4, 1, 5)
    whole = found.reshape(len(x), 4 * down, 4 * across, outputs)
    height, width = _outputs(x, padding)
    if bias is not None:
        whole += bias
    return whole[:, :height, :width].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def backward(
    gradient: Tensor, x: Tensor, weight: Tensor, padding: Sequence[int], wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of input, weight and bias, each where it is wanted."""
    to_x = to_weight = None
    if wanted[0]:
        turned = weight.flip(2, 3).transpose(0, 1)
        to_x = forward(gradient, turned, None, [2 - p for p in padding])
    if wanted[1]:
        to_weight = _to_weight(gradient, x, padding)
    return to_x, to_weight, gradient.sum((0, 2, 3)) if wanted[2] else None


def _to_weight(gradient: Tensor, x: Tensor, padding: Sequence[int]) -> Tensor:
    """(N, O, h, w), (N, I, H, W) -> (O, I, 3, 3)"""
    tiles, down, across = _tiles(x, padding)
    inputs, outputs = x.shape[1], gradient.shape[1]
    room = (0, 0, 0, 4 * across - gradient.shape[3], 0, 4 * down - gradient.shape[2])
    whole = F.pad(gradient.permute(0, 2, 3, 1), room).reshape(len(x), down, 4, across, 4, outputs)
    places = whole.permute(2, 4, 0, 1, 3, 5)  # (4, 4, N, down, across, O)
    products = x.new_zeros(36, inputs, outputs)
    for some in _some(len(x), down * across, max(inputs, outputs)):
        to_products = (OUTPUTS.t() @ places[:, :, some].reshape(16, -1)).reshape(36, -1, outputs)
        products.baddbmm_(_in_products(tiles[:, :, some]).transpose(1, 2), to_products)
    kernels = (KERNELS.t() @ products.reshape(36, -1)).reshape(3, 3, inputs, outputs)
    return kernels.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
