# SPDX-License-Identifier: Apache-2.0
"""The loss of FastestDet: the four cells around the centre of an object answer for it, as far as their boxes fit.

    L_n = 8 mean_kept (1 - GIoU) + 16 O_n + mean_kept CE(class)
    O_n = mean_kept smooth L1(sigmoid(o), IoU) / 4 + 3 sum_others smooth L1(sigmoid(o), 0) / (4 A)

over image n of A cells. The cell that holds an object's centre and those right of it, below it, and both, are its
candidates, where they exist; kept are those whose IoU with their object is at least the mean of its candidates.
Without objects the means are zero. The loss is the mean of L_n over the images.

Source: FastestDet, github.com/dog-qiuqiu/FastestDet, module/loss.py, commit 34df73f.

Differs from the source:
1. GIoU instead of SIoU in the term of boxes, and the plain IoU in the choice of cells and as what objectness learns;
   there it is SIoU everywhere, and gradients flow through the aim.
2. A candidate is compared with the mean of its object, not of all in the batch: there, an object whose boxes fit less
   than those of others keeps no cell and is never learnt. At least the mean, so that a single candidate is kept.
3. Means are taken over the image, so that the loss does not depend on how a batch is shared among processes.
4. Where two objects keep a cell, objectness learns the higher IoU; there the last one counts.
5. Cells around difficult objects count neither as objects nor as background.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from gossamer.detection import Head
from gossamer.kinds.detection_loss import Objects, corners, generalized_overlaps, objects_of, overlaps

BOXES, OBJECTNESS = 8.0, 16.0  # weights of the terms; that of classes has 1
KEPT = 0.25  # weight of objects in the term of objectness; the background has the rest


@dataclass(frozen=True)
class FastestDetLoss:
    """`head`: one level of `cells`, its scoring `objectness`."""

    head: Head

    def __post_init__(self) -> None:
        if (self.head.coding, self.head.scoring, len(self.head.levels)) != ("cells", "objectness", 1):
            raise ValueError(
                "the loss of FastestDet needs a head of one level of cells with objectness, got "
                f"{len(self.head.levels)} of {self.head.coding} with {self.head.scoring}"
            )

    def __call__(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean over the images, computed in float32: (N, A, 4 + 1 + classes), (N, L, 6) -> ()"""
        objects = objects_of(self.head, outputs, targets)
        numbers = outputs.float()
        cells, inside = self._candidates(objects)  # (N, 4 L)
        boxes, classes, plain, difficult = (
            each.repeat_interleave(4, 1) for each in (objects.boxes, objects.classes, objects.plain, objects.difficult)
        )
        answers = numbers.gather(1, cells[..., None].expand(-1, -1, numbers.shape[2]))
        found = self._decoded(answers[..., :4], cells)
        overlap = overlaps(found.detach(), boxes)  # (N, 4 L)
        by_object = (*objects.classes.shape, 4)
        usual = _mean(overlap.reshape(by_object), inside.reshape(by_object))  # (N, L)
        kept = inside & plain & (overlap >= usual.repeat_interleave(4, 1))
        entropy = functional.cross_entropy(answers[..., 5:].transpose(1, 2), classes.clamp(min=0), reduction="none")
        objectness = self._objectness(numbers[..., 4].sigmoid(), cells, kept, overlap, inside & difficult)
        losses = BOXES * _mean(1 - generalized_overlaps(found, boxes), kept)
        return (losses + OBJECTNESS * objectness + _mean(entropy, kept)).mean()

    def _candidates(self, objects: Objects) -> tuple[torch.Tensor, torch.Tensor]:
        """The numbers of the four cells around each centre, and which of them there are: int64, bool (N, 4 L)"""
        rows, columns = self.head.levels[0].rows, self.head.levels[0].columns
        centres = (objects.boxes[..., :2] + objects.boxes[..., 2:]) / 2
        size = centres.new_tensor([columns, rows])
        first = torch.minimum((centres * size).floor().clamp(min=0), size - 1).long()  # (N, L, 2)
        right, down = first.new_tensor([0, 1, 0, 1]), first.new_tensor([0, 0, 1, 1])
        column, row = first[..., :1] + right, first[..., 1:] + down  # (N, L, 4)
        inside = (column < columns) & (row < rows)
        cells = row.clamp(max=rows - 1) * columns + column.clamp(max=columns - 1)
        return cells.flatten(1), inside.flatten(1)

    def _decoded(self, numbers: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """Corners of the boxes that the cells of these numbers say: (N, M, 4), (N, M) -> (N, M, 4)"""
        level = self.head.levels[0]
        step = numbers.new_tensor(level.steps)
        corner = torch.stack([cells % level.columns, cells // level.columns], -1) * step
        return corners(torch.cat([corner + numbers[..., :2].tanh() * step, numbers[..., 2:].sigmoid()], -1))

    def _objectness(
        self,
        answers: torch.Tensor,
        cells: torch.Tensor,
        kept: torch.Tensor,
        overlap: torch.Tensor,
        ignored: torch.Tensor,
    ) -> torch.Tensor:
        """O_n: probabilities (N, A); cells, kept, IoU and whether the object is difficult (N, 4 L) -> (N,)"""
        none = torch.zeros_like(answers)
        aim = none.scatter_reduce(1, cells, overlap * kept, "amax")
        objects = none.scatter_reduce(1, cells, kept.float(), "amax") > 0
        others = ~objects & (none.scatter_reduce(1, cells, ignored.float(), "amax") == 0)
        distance = functional.smooth_l1_loss(answers, aim.detach(), reduction="none")
        return KEPT * _mean(distance, objects) + (1 - KEPT) * (distance * others).mean(1)


def _mean(values: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """The mean of each row over what is true in `of`, 0 where nothing is; (..., M), bool (..., M) -> (...)"""
    return torch.where(of, values, 0).sum(-1) / of.sum(-1).clamp(min=1)
