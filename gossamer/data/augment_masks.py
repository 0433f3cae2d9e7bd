# SPDX-License-Identifier: Apache-2.0
"""Augmentation of images and their masks together: crop, mirror and turn both alike, change the light of images only.

    image'[n, :, i, j] = image[n, :, y(n, i, j), x(n, i, j)]     mask'[n, i, j] = mask[n, y(n, i, j), x(n, i, j)]

with one pair of maps y, x for both: a window at random, mirrored and turned about its centre, which may reach beyond
the image by a margin, where the image goes on mirrored. With mirrors both ways and quarter turns, all eight ways to lay
a square are equally likely. Nothing is interpolated, so classes stay classes.

Random numbers are drawn on the generator's device and then moved, so that a seed gives the same on a CPU and on an
accelerator.
"""

from __future__ import annotations

import torch


def crop_and_turn(
    images: torch.Tensor,
    masks: torch.Tensor,
    generator: torch.Generator,
    *,
    size: int | tuple[int, int] | None = None,
    margin: int = 0,
    mirror: bool = True,
    flip: bool = True,
    turn: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 (N, C, H, W) and (N, H, W) -> the same of `size`, (N, C, h, w) and (N, h, w); None keeps H and W.

    Windows reach at most `margin` pixels beyond the image, fewer than its sides have.

    `mirror` exchanges left and right, `flip` up and down, half the time each; `turn` turns by 0 to 3 quarters, in
    windows that are not square by 0 or 2. Without `flip` and `turn`, the sky stays above.
    """
    _check(images, masks)
    count, channels, high, wide = images.shape
    height, width = (high, wide) if size is None else (size, size) if isinstance(size, int) else size
    if not (0 < height <= high and 0 < width <= wide):
        raise ValueError(f"crops must fit into images of {high}x{wide} pixels, got {height}x{width}; ask for less")
    if not 0 <= margin < min(high, wide):
        raise ValueError(f"margin must be at least 0 and below the sides of images, {high}x{wide}, got {margin}")
    top, left, mirrored, flipped, quarters = (
        torch.randint(0, stop, (count,), generator=generator, device=generator.device).to(images.device)[:, None, None]
        for stop in (high - height + 1 + 2 * margin, wide - width + 1 + 2 * margin, 2, 2, 4)
    )
    i = torch.arange(height, device=images.device)[None, :, None].expand(count, height, width)
    j = torch.arange(width, device=images.device)[None, None].expand(count, height, width)
    if turn and height == width:
        odd = quarters % 2 == 1
        i, j = torch.where(odd, j, i), torch.where(odd, i, j)  # mirrored at the diagonal; the rest follows
        i = torch.where(quarters >= 2, height - 1 - i, i)
        j = torch.where((quarters == 1) | (quarters == 2), width - 1 - j, j)
    elif turn:
        i, j = (torch.where(quarters >= 2, side - 1 - at, at) for side, at in ((height, i), (width, j)))
    i = torch.where(flipped == 1, height - 1 - i, i) if flip else i
    j = torch.where(mirrored == 1, width - 1 - j, j) if mirror else j
    y, x = (_mirrored_back(at - margin, side) for at, side in ((top + i, high), (left + j, wide)))
    where = (y * wide + x).flatten(1)  # (N, h * w), in the flattened image
    crops = images.flatten(2).gather(2, where[:, None].expand(-1, channels, -1))
    return crops.view(count, channels, height, width), masks.flatten(1).gather(1, where).view(count, height, width)


def change_light(
    images: torch.Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.1,
    contrast: float = 0.2,
    colour: float = 0.1,
) -> torch.Tensor:
    """uint8 (N, C, H, W) -> the same, each image in another light.

    A pixel's distance from its image's mean is multiplied by 1 +- `contrast`, each channel by 1 +- `colour`, and
    +- `brightness` times 255 is added; how much, is drawn evenly for each image.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
    for name, share in (("brightness", brightness), ("contrast", contrast), ("colour", colour)):
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be in [0, 1), got {share}")
    count, channels = images.shape[:2]
    drawn = torch.rand((count, 2 + channels, 1, 1), generator=generator, device=generator.device).to(images.device)
    drawn = 2 * drawn - 1
    values = images.float()
    mean = values.mean((1, 2, 3), keepdim=True)
    values = (values - mean) * (1 + contrast * drawn[:, :1]) + mean
    values = values * (1 + colour * drawn[:, 2:]) + 255 * brightness * drawn[:, 1:2]
    return values.round_().clamp_(0, 255).to(torch.uint8)


def _mirrored_back(at: torch.Tensor, side: int) -> torch.Tensor:
    """Places beyond an image, by less than its side: those within that are as far from its border."""
    return (side - 1) - ((side - 1) - at.abs()).abs()


def _check(images: torch.Tensor, masks: torch.Tensor) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
    wanted = (len(images), *images.shape[2:])
    if masks.dtype != torch.uint8 or tuple(masks.shape) != wanted:
        raise ValueError(f"masks must be uint8 {wanted} like their images, got {masks.dtype} {tuple(masks.shape)}")
