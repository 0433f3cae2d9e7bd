# SPDX-License-Identifier: Apache-2.0
"""How far the answers of one network are from another's: what distillation trains on, and sensitivities count.

    D(wanted || outputs) = T^2 KL(softmax(wanted / T) || softmax(outputs / T)), mean over examples, or their pixels

with T^2 because the gradient of the softened divergence falls with 1 / T^2 (Hinton et al. 2015, arXiv 1503.02531).
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def log_probabilities(outputs: Tensor) -> Tensor:
    """(N, K, ...) -> (N, K, ...); a single logit is of class 1 against class 0: (N, 1, ...) -> (N, 2, ...)"""
    if outputs.shape[1] == 1:
        outputs = functional.pad(outputs, (0, 0) * (outputs.ndim - 2) + (1, 0))
    return outputs.log_softmax(1)


def divergence(outputs: Tensor, wanted: Tensor, temperature: float = 1.0) -> Tensor:
    """D(wanted || outputs) of class scores, (N, classes, ...) each -> ()"""
    ours, theirs = (log_probabilities(given.float() / temperature) for given in (outputs, wanted))
    total = functional.kl_div(ours, theirs, reduction="sum", log_target=True)
    return temperature**2 * total * ours.shape[1] / ours.numel()
