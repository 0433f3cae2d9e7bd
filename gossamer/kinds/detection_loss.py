# SPDX-License-Identifier: Apache-2.0
"""What the losses of detectors share: how the truth of a batch is read, how far boxes overlap, how they are encoded.

    IoU(a, b)  = area(a and b) / area(a or b)
    GIoU(a, b) = IoU - (area(hull) - area(a or b)) / area(hull),   hull: the smallest box around both

Papers: H. Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, arXiv 1902.09630, algorithm 1; W. Liu
et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, arXiv 1512.02325, equation 2, for `encoded`.

The truth of a batch is float32 (N, L, 6): corners relative to the picture, class, and 1 where an object is difficult.
Rows beyond an image's objects have class -1. The formulas of `gossamer.detection`, with gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from gossamer.detection import Head

SMALLEST = 1e-6  # side of a box, relative to the picture; its logarithm is taken


class Criterion(Protocol):
    """A loss of a detector: outputs (N, A, 4 + E), truth (N, L, 6) -> (); holds no weights, and can be copied"""

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Objects:
    """The truth of a batch, read: corners (N, L, 4), classes int64 (N, L), and which rows hold which sort of object.

    `plain` and `difficult` are bool (N, L); rows that are neither hold nothing.
    """

    boxes: torch.Tensor
    classes: torch.Tensor
    plain: torch.Tensor
    difficult: torch.Tensor


def objects_of(head: Head, outputs: torch.Tensor, targets: torch.Tensor) -> Objects:
    """Read the truth; ValueError unless outputs are those of `head` and the truth is (N, L, 6) of its classes."""
    expected = (head.count, head.width)
    if outputs.ndim != 3 or tuple(outputs.shape[1:]) != expected:
        raise ValueError(
            f"outputs must be (N, {expected[0]}, {expected[1]}) for this head, got {tuple(outputs.shape)}; "
            "check size and classes of the network"
        )
    if targets.ndim != 3 or targets.shape[0] != len(outputs) or targets.shape[2] != 6:
        raise ValueError(
            f"the truth must be ({len(outputs)}, objects, 6), corners, class and difficult, got {tuple(targets.shape)}"
        )
    classes = targets[..., 4].long()
    if classes.numel() and int(classes.max()) >= head.classes:
        raise ValueError(
            f"classes of objects must be in 0..{head.classes - 1}, or -1 for none, got {int(classes.max())}; "
            "give the network as many classes as the data have"
        )
    there, difficult = classes >= 0, targets[..., 5] > 0
    return Objects(targets[..., :4].float(), classes, there & ~difficult, there & difficult)


def anchors_of(head: Head, device: torch.device) -> torch.Tensor:
    """Centre x, y, width, height of each anchor, float32 (A, 4)."""
    return torch.from_numpy(head.anchors()).to(device)


def corners(centred: torch.Tensor) -> torch.Tensor:
    """Centre x, y, width, height -> x1, y1, x2, y2; (..., 4) -> (..., 4)"""
    half = centred[..., 2:] / 2
    return torch.cat([centred[..., :2] - half, centred[..., :2] + half], -1)


def overlaps(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """IoU of corners that stand side by side: (..., 4), (..., 4) -> (...), 0 where neither has an area

    >>> overlaps(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 0.0, 3.0, 1.0]]))
    tensor([0.3333, 0.0000])
    """
    return _shared(a, b)[0]


def generalized_overlaps(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """GIoU of corners that stand side by side, from -1 to 1: (..., 4), (..., 4) -> (...)

    >>> generalized_overlaps(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([3.0, 0.0, 4.0, 1.0]))
    tensor(-0.5000)
    """
    overlap, union = _shared(a, b)
    hull = _area(torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2]))
    tiny = torch.finfo(hull.dtype).tiny
    return overlap - (hull - union) / hull.clamp(min=tiny)


def encoded(boxes: torch.Tensor, anchors: torch.Tensor, variances: tuple[float, ...]) -> torch.Tensor:
    """The offsets by which a head with `offsets` reaches `boxes`: corners (..., 4), anchors (..., 4) -> (..., 4)

    A side below `SMALLEST` counts as that long.
    """
    centres, sizes = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]).clamp(min=SMALLEST)
    moved = (centres - anchors[..., :2]) / anchors[..., 2:]
    offsets = torch.cat([moved, (sizes / anchors[..., 2:]).log()], -1)
    return offsets / offsets.new_tensor(variances)


def _shared(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and the area of the union."""
    inside = _area((torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0))
    union = _area(a[..., 2:] - a[..., :2]) + _area(b[..., 2:] - b[..., :2]) - inside
    return inside / union.clamp(min=torch.finfo(union.dtype).tiny), union


def _area(sides: torch.Tensor) -> torch.Tensor:
    return sides[..., 0] * sides[..., 1]
