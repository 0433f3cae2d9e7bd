# SPDX-License-Identifier: Apache-2.0
"""Distillation: the compressed network learns the original's outputs.

Paper: G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv 1503.02531,
section 2. Loss: (1 - a) CE(outputs, targets) + a T^2 KL(softmax(teacher / T) || softmax(outputs / T)).
Where pixels have classes, the mean over pixels; instead of CE whatever loss the task has, and for detectors the
divergence of their kind (`gossamer.kinds.detection`).

Cost: a forward pass of the original for each image and epoch, of some from memory.

Differs from the paper:
1. a = 0.9 and T = 4 by default, and the loss is divided by (1 - a) + a T^2 / 4, so that a learning rate
   means the same with and without distillation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gossamer.tuning.plug import Batch, Plug


@dataclass(frozen=True)
class Distillation(Plug):
    """Replaces the task's loss by a mixture with the teacher's softened outputs."""

    temperature: float = 4.0
    share: float = 0.9
    taught: ClassVar[bool] = True

    def loss(self, outputs: Tensor, teacher_outputs: Tensor | None, batch: Batch) -> Tensor | None:
        """Mixture of both losses; outputs and teacher_outputs of one shape."""
        if teacher_outputs is None:
            raise ValueError("distillation needs a teacher, got none; pass teacher= to tune")
        T, a = self.temperature, self.share
        soft = batch.imitation(outputs, teacher_outputs, T)
        hard = batch.loss(outputs, batch.targets)
        return ((1 - a) * hard + a * soft) / ((1 - a) + a * T * T / 4)
