# SPDX-License-Identifier: Apache-2.0
"""Augmentation of images and the boxes in them together: other light, smaller on a canvas, a window of it, mirrored.

    x' = (x - left) / width of the window        kept if its centre is inside, then cut at the window's border

Paper: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, section 2.2, "Data augmentation", and 3.6: the
whole image, or a window that overlaps an object by 0.1, 0.3, 0.5, 0.7 or 0.9 at least (Jaccard index), or any window;
its shape is 1/2 to 2; half the images are first put onto a larger canvas of the mean colour; half are mirrored.

Differs from the paper:
1. Windows have at least 0.3 of the area, not 0.1: pictures are already squeezed to the network's size, and a smaller
   window would show nothing but enlarged pixels. Canvases have at most 4 times the area, not 16, for which the paper
   trains twice as long.
2. Windows of any overlap hold the centre of an object too, and those of an image without objects its own centre. Of
   `TRIES` windows drawn at once the first that will do is taken; where none will, the whole.
3. The canvas has the mean colour of its image, not of the data set, and light changes as in `augment_masks`.
4. Windows begin and end at whole pixels, and boxes are moved by what was done to the pixels.

An image's window is resized by itself, in 8 bits where a CPU does it: 0.2 ms for 320x320 pixels, a tenth of one
`grid_sample` for the whole batch, and without the aliasing of the latter where pictures become smaller. All random
numbers come from the generator, on its device; on another device than a CPU pixels may be rounded otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from gossamer.data.augment_masks import change_light
from gossamer.data.boxes import CLASS, COLUMNS, PADDING

BRIGHTNESS, CONTRAST, COLOUR = 32 / 255, 0.3, 0.1  # the first as in the code of the paper
OVERLAPS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)  # each as likely as the whole image
TRIES = 50  # as in the code of the paper
SHAPE = 2.0  # width to height of a window, at most; at least its inverse


def augmented(
    images: Tensor,
    truth: Tensor,
    generator: torch.Generator,
    *,
    mirror: bool = True,
    smallest: float = 0.3,
    widest: float = 2.0,
    light: bool = True,
) -> tuple[Tensor, Tensor]:
    """uint8 (N, C, H, W) and float32 (N, L, 6), rows as `Boxes.take` gives them -> the same shapes.

    `smallest`: area of a window at least, as a share, 1 for no windows; `widest`: side of a canvas at most, in sides of
    the image, 1 for no canvases. Objects that leave become padding, where they stood.
    """
    _check(images, truth, smallest, widest)
    count, _, height, width = images.shape
    device = generator.device

    def draw(*shape: int) -> Tensor:
        return torch.rand((count, *shape), generator=generator, device=device).to(truth.device)

    mirrored = (draw() < 0.5) & mirror
    side = torch.where(draw() < 0.5, 1 + (widest - 1) * draw(), 1.0)[:, None]  # of the canvas
    corner = draw(2) * (1 - 1 / side)  # of the image on its canvas
    canvas = torch.cat([-corner * side, side, side], 1)  # as a window of the image, larger than it
    crop = _windows(*_on_canvas(truth, canvas), draw, smallest)
    window = torch.cat([canvas[:, :2] + crop[:, :2] * side, crop[:, 2:] * side], 1)
    source, target = _in_pixels(window, height, width)
    out = torch.empty_like(images)
    for position, (of, to, turned) in enumerate(zip(source.tolist(), target.tolist(), mirrored.tolist(), strict=True)):
        image = images[position : position + 1]
        if light:
            image = change_light(image, generator, brightness=BRIGHTNESS, contrast=CONTRAST, colour=COLOUR)
        out[position] = _placed(image, of, to, turned)
    return out, _boxes(truth, source, target, mirrored, height, width)


def _on_canvas(truth: Tensor, canvas: Tensor) -> tuple[Tensor, Tensor]:
    """Corners of objects, (N, L, 4), and which rows are some, (N, L); of an image without any, the image is one."""
    there = truth[..., CLASS] >= 0
    image = torch.tensor([0.0, 0.0, 1.0, 1.0], device=truth.device)
    corners = torch.where(there[..., None], truth[..., :CLASS], image)
    return _moved(corners, canvas), there | ~there.any(1, keepdim=True)


def _windows(objects: Tensor, there: Tensor, draw: Callable[..., Tensor], smallest: float) -> Tensor:
    """A window of each canvas: left, top, width, height, (N, 4)."""
    area = smallest + (1 - smallest) * draw(TRIES)
    low, high = area.clamp(min=1 / SHAPE).log(), (1 / area).clamp(max=SHAPE).log()  # no side is longer than 1
    ratio = (low + (high - low) * draw(TRIES)).exp()
    size = torch.stack([area * ratio, area / ratio], -1).sqrt().clamp(max=1)  # (N, TRIES, 2)
    first = draw(TRIES, 2) * (1 - size)
    kind = (draw() * (len(OVERLAPS) + 1)).long().clamp(max=len(OVERLAPS))  # the last is the whole image
    least = torch.tensor([*OVERLAPS, 2.0], device=objects.device)[kind]
    low_corner, high_corner = objects[:, None, :, :2], objects[:, None, :, 2:]  # (N, 1, L, 2)
    begin, end = first[:, :, None], (first + size)[:, :, None]  # (N, TRIES, 1, 2)
    shared = (torch.minimum(end, high_corner) - torch.maximum(begin, low_corner)).clamp(min=0).prod(-1)
    overlap = shared / (size.prod(-1)[..., None] + (high_corner - low_corner).prod(-1) - shared)  # (N, TRIES, L)
    centre = (low_corner + high_corner) / 2
    held = ((centre > begin) & (centre < end)).all(-1)
    good = (there[:, None] & held).any(-1) & ((there[:, None] & (overlap >= least[:, None, None])).any(-1))
    chosen = good.int().argmax(1)  # the first that will do
    every = torch.cat([first, size], -1)[torch.arange(len(chosen), device=chosen.device), chosen]
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0], device=objects.device)
    return torch.where(good.any(1)[:, None], every, whole)


def _in_pixels(window: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Whole pixels x1, y1, x2, y2 of the image that are seen in a window, and where in the result they go, (N, 4)."""
    sides = torch.tensor([width, height], device=window.device)
    begin, size = window[:, :2], window[:, 2:]
    low, high = begin.clamp(0, 1), (begin + size).clamp(0, 1)
    return _whole(low, high, sides), _whole((low - begin) / size, (high - begin) / size, sides)


def _whole(low: Tensor, high: Tensor, sides: Tensor) -> Tensor:
    """Spans between 0 and 1, (N, 2) each, in whole pixels of these sides, one at least: x1, y1, x2, y2, (N, 4)."""
    start = torch.minimum((low * sides).round(), sides - 1.0)
    stop = torch.maximum((high * sides).round(), start + 1)
    return torch.cat([start, torch.minimum(stop, sides.float())], 1).long()


def _boxes(truth: Tensor, source: Tensor, target: Tensor, mirrored: Tensor, height: int, width: int) -> Tensor:
    """The rows that are left once pixels of `source` went to `target`; all others are padding."""
    sides = torch.tensor([width, height], device=truth.device)
    scale = (target[:, 2:] - target[:, :2]) / (source[:, 2:] - source[:, :2])
    window = torch.cat([(source[:, :2] - target[:, :2] / scale) / sides, 1 / scale], 1)
    corners = _moved(truth[..., :CLASS], window)
    x1, y1, x2, y2 = corners.unbind(-1)
    turned = mirrored[:, None]
    corners = torch.stack([torch.where(turned, 1 - x2, x1), y1, torch.where(turned, 1 - x1, x2), y2], -1)
    centre = (corners[..., :2] + corners[..., 2:]) / 2
    corners = corners.clamp(0, 1)
    kept = (truth[..., CLASS] >= 0) & ((centre > 0) & (centre < 1)).all(-1)
    kept &= (corners[..., :2] < corners[..., 2:]).all(-1)
    padding = torch.zeros(COLUMNS, device=truth.device)
    padding[CLASS] = PADDING
    return torch.where(kept[..., None], torch.cat([corners, truth[..., CLASS:]], -1), padding)


def _moved(corners: Tensor, window: Tensor) -> Tensor:
    """Corners (N, L, 4) of an image as those of a window of it: left, top, width, height, (N, 4)."""
    begin, size = window[:, None, :2], window[:, None, 2:]
    return (corners - begin.repeat(1, 1, 2)) / size.repeat(1, 1, 2)


def _placed(image: Tensor, of: list[int], to: list[int], mirrored: bool) -> Tensor:
    """Some pixels of an image (1, C, H, W) resized to some of the result, (C, H, W), on its mean colour."""
    height, width = image.shape[2:]
    part = image[:, :, of[1] : of[3], of[0] : of[2]]
    size = (to[3] - to[1], to[2] - to[0])
    if part.shape[2:] != size:
        part = _resized(part, size)
    if mirrored:
        part, to = part.flip(3), [width - to[2], to[1], width - to[0], to[3]]
    if size == (height, width):
        return part[0]
    canvas = image.float().mean((2, 3), keepdim=True).round().to(torch.uint8).repeat(1, 1, height, width)
    canvas[:, :, to[1] : to[3], to[0] : to[2]] = part
    return canvas[0]


def _resized(part: Tensor, size: tuple[int, int]) -> Tensor:
    if part.device.type == "cpu":
        return functional.interpolate(part, size, mode="bilinear", antialias=True)
    values = functional.interpolate(part.float(), size, mode="bilinear", antialias=True)
    return values.round().clamp(0, 255).to(torch.uint8)


def _check(images: Tensor, truth: Tensor, smallest: float, widest: float) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
    shape = tuple(truth.shape)
    if truth.dtype != torch.float32 or truth.ndim != 3 or shape != (len(images), max(1, shape[1]), COLUMNS):
        raise ValueError(
            f"boxes must be float32 ({len(images)}, L, {COLUMNS}) with L of 1 or more, got {truth.dtype} {shape}"
        )
    if not 0 < smallest <= 1:
        raise ValueError(f"smallest must be in (0, 1], a share of the area, got {smallest}")
    if not (widest >= 1 and math.isfinite(widest)):
        raise ValueError(f"widest must be 1 or more, in sides of the image, got {widest}")
