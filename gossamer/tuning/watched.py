# SPDX-License-Identifier: Apache-2.0
"""Watched: the quality of a network after each epoch of its training, for whoever looks at how fast it comes back.

Nothing is decided by it. It is that of the network as training has it: with the batch norms' running statistics and
the weights that the forward pass uses, in float32, computed by torch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gossamer.data.images import Split
from gossamer.task import Task

BATCH = 100


class Watched:
    """Images that a network in training is asked about; `qualities` has the mean over them after each epoch so far."""

    def __init__(self, task: Task, split: Split) -> None:
        self._task, self._split = task, split
        self.qualities: list[float] = []

    def ask(self, networks: Sequence[tuple[nn.Module, dict[str, Tensor]]], device: str = "cpu") -> None:
        """Remember the quality of networks trained side by side, that of the best; each with the weights it uses."""
        self.qualities.append(max(self.quality(module, weights, device) for module, weights in networks))

    def quality(self, module: nn.Module, weights: dict[str, Tensor], device: str = "cpu") -> float:
        """Of a module with these weights in place of its own; it is left in evaluation form."""
        module.eval()
        found = []
        with torch.no_grad():
            for inputs, targets in self._task.batches(self._split, BATCH, device=device):
                outputs = functional_call(module, weights, (inputs,)).float().cpu().numpy()
                found.append(self._task.quality(outputs, targets.cpu().numpy()))
        return float(np.concatenate(found).mean())
