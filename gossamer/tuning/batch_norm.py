# SPDX-License-Identifier: Apache-2.0
"""Batch norms re-estimated: statistics of the network as it is now, not as it was.

Paper: B. Li, B. Wu, J. Su, G. Wang, "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning",
ECCV 2020, arXiv 2007.02491, section 3.3: after a cut the running statistics belong to another network; averaging
them anew over a few batches makes accuracy right after the cut a good predictor of accuracy after tuning.

Cost: a forward pass of the calibration images.

Differs from the paper:
1. A plain average over all batches instead of a moving one, which does not forget the first batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from gossamer.graph import TracedModule


def reestimate_batch_norms(
    module: TracedModule, batches: Iterable[Tensor], weights: Mapping[str, Tensor] | None = None
) -> None:
    """Set running means and variances to their averages over `batches` of inputs (N, C, H, W), in place.

    `weights` replaces parameters during the passes (the rounded ones, say). Without batch norms nothing happens.
    """
    names = [name for name, _ in module.named_buffers() if name.endswith(("running_mean", "running_var"))]
    if not names:
        return
    sums: dict[str, Tensor] = {}
    count = 0
    training, momentum = module.training, module.norm_momentum
    module.train()
    module.norm_momentum = 1.0  # running statistics become the batch's own
    try:
        with torch.no_grad():
            for inputs in batches:
                functional_call(module, dict(weights or {}), (inputs,))
                buffers = dict(module.named_buffers())
                for name in names:
                    sums[name] = sums.get(name, 0) + buffers[name]
                count += 1
            for name, buffer in module.named_buffers():
                if name in sums:
                    buffer.copy_(sums[name] / count)
    finally:
        module.norm_momentum = momentum
        module.train(training)
