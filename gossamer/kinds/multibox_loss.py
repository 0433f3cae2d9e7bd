# SPDX-License-Identifier: Apache-2.0
"""The loss of SSD: objects are matched with anchors, whose offsets and classes are then trained.

    L_n = (sum_pos CE(c_a, 1 + class) + sum_neg CE(c_a, background) + sum_pos smooth L1(t_a - encoded)) / max(1, M_n)

over the anchors a of image n. pos: the M_n anchors matched with an object; neg: of those matched with none, the
3 max(1, M_n) whose entropy is highest. The loss is the mean of L_n over the images.

    matched     each object with the anchor that overlaps it most, an anchor of its own; then every other anchor with
                the object that it overlaps most, where their IoU is above 0.5

Paper: W. Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, arXiv 1512.02325, section 2.2, equations 1 to 3.

Differs from the paper:
1. M_n is that of the image, as equation 1 has it; the authors' code divides by the number of the whole batch. So the
   loss does not depend on how a batch is shared among processes.
2. An image without objects trains its three most confident mistakes; the paper's loss of it is zero.
3. Difficult objects are nothing: anchors matched with them count neither as objects nor as background.
4. Offsets are divided by the variances of the head (0.1 and 0.2), as in the authors' code; equation 2 has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from gossamer.detection import Head
from gossamer.kinds.detection_loss import Objects, anchors_of, corners, encoded, objects_of, overlaps

BACKGROUND, IGNORED = -1, -2  # instead of the number of an object


@dataclass(frozen=True)
class MultiboxLoss:
    """`head`: offsets, scored by softmax; `negatives`: anchors of the background for each that is matched."""

    head: Head
    overlap: float = 0.5
    negatives: float = 3.0

    def __post_init__(self) -> None:
        if (self.head.coding, self.head.scoring) != ("offsets", "softmax"):
            raise ValueError(
                f"the loss of SSD needs a head of offsets with softmax, got {self.head.coding} with {self.head.scoring}"
            )
        if not 0 < self.overlap < 1 or not self.negatives > 0:
            raise ValueError(
                f"overlap must be in (0, 1) and negatives above 0, got {self.overlap} and {self.negatives}"
            )

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean over the images, computed in float32: (N, A, 4 + 1 + classes), (N, L, 6) -> ()"""
        objects = objects_of(self.head, outputs, targets)
        numbers, anchors = outputs.float(), anchors_of(self.head, outputs.device)
        matched = match(objects, corners(anchors), self.overlap)  # (N, A)
        image, anchor = (matched >= 0).nonzero(as_tuple=True)  # (P,), of all images
        number = matched[image, anchor]
        labels = torch.zeros_like(matched)
        labels[image, anchor] = 1 + objects.classes[image, number]
        entropy = functional.cross_entropy(numbers[..., 4:].transpose(1, 2), labels, reduction="none")  # (N, A)
        count = (matched >= 0).sum(1).clamp(min=1)  # (N,)
        rivals = entropy.detach().masked_fill(matched != BACKGROUND, -torch.inf)
        chosen = (matched >= 0) | highest(rivals, count * self.negatives)
        wanted = encoded(objects.boxes[image, number], anchors[anchor], self.head.variances)
        distance = functional.smooth_l1_loss(numbers[image, anchor, :4], wanted, reduction="none").sum(1)  # (P,)
        sums = (entropy * chosen).sum(1).index_add(0, image, distance)
        return (sums / count).mean()


def match(objects: Objects, anchors: torch.Tensor, threshold: float) -> torch.Tensor:
    """For each anchor the number of its object, `BACKGROUND` or `IGNORED`; corners (A, 4) -> int64 (N, A)"""
    there = objects.plain | objects.difficult
    if not there.any():
        return torch.full((len(there), len(anchors)), BACKGROUND, device=anchors.device)
    shared = overlaps(objects.boxes[:, :, None], anchors).masked_fill(~there[..., None], -1)  # (N, L, A)
    best, which = shared.max(1)
    found = torch.where(best > threshold, which, BACKGROUND)
    image, number = objects.difficult.nonzero(as_tuple=True)
    place = shared[image, number].argmax(1)
    free = found[image, place] == BACKGROUND
    found[image[free], place[free]] = number[free]
    _give_each_its_own(found, shared.masked_fill(~objects.plain[..., None], -1))
    hard = objects.difficult.gather(1, found.clamp(min=0)) & (found >= 0)
    return found.masked_fill(hard, IGNORED)


def _give_each_its_own(found: torch.Tensor, shared: torch.Tensor) -> None:
    """Give each object the free anchor that overlaps it most, best pairs first; `found` (N, A) is changed in place.

    An object that overlaps no free anchor gets none.
    """
    images, rows, columns = torch.arange(len(found), device=found.device), shared.shape[1], shared.shape[2]
    for _ in range(rows):
        value, place = shared.flatten(1).max(1)  # (N,)
        left = images[value > 0]
        if not len(left):
            return
        number, anchor = place[left] // columns, place[left] % columns
        found[left, anchor] = number
        shared[left, number] = -1
        shared[left, :, anchor] = -1


def highest(values: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """The `count` highest of each row, those of -inf never; (N, A), (N,) -> bool (N, A)

    >>> highest(torch.tensor([[1.0, 3.0, 2.0], [1.0, -torch.inf, -torch.inf]]), torch.tensor([2, 3])).tolist()
    [[False, True, True], [True, False, False]]
    """
    rank = values.argsort(1, descending=True).argsort(1)
    return (rank < count[:, None]) & (values > -torch.inf)
