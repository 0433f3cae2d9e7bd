# SPDX-License-Identifier: Apache-2.0
"""Gradual sparsification: zeros grow along a cubic schedule while the network trains.

Paper: M. Zhu, S. Gupta, "To Prune, or Not to Prune: Exploring the Efficacy of Pruning for Model Compression",
2017, arXiv 1710.01878, section 3. Sparsity at t of the ramp: s_t = s_f + (s_i - s_f) (1 - t)^3.

Cost: a sort of the weights at some steps, within the training it is plugged into.

Differs from the paper:
1. Zeroed weights go on receiving the gradient of the zero in their place and may come back while the ramp lasts.
2. Weights are compared after their batch norm is folded in (`gossamer.quantize.folding`).
3. The ramp is a share of training; what is zero at its end stays zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from gossamer.tuning.plug import Clock, Plug, Weights, zeroed
from gossamer.weights import Magnitude


class Sparsify(Plug):
    """Bring weights from `start` to `final` sparsity during the first `ramp` of training.

    `factors` names the weights and says what to multiply them by before they are compared; `inputs_first` as in
    `plug.alive`.
    """

    def __init__(
        self,
        factors: Mapping[str, Tensor],
        *,
        final: float,
        start: float = 0.0,
        ramp: float = 0.5,
        refreshes: int = 100,
        method: Magnitude | None = None,
        inputs_first: Mapping[str, int] | None = None,
    ) -> None:
        self.factors = dict(factors)
        self.final, self.start, self.ramp, self.refreshes = final, start, ramp, refreshes
        self.method = method or Magnitude("scaled")
        self.inputs_first = dict(inputs_first or {})
        self.keep: dict[str, Tensor] = {}

    def sparsity_at(self, fraction: float) -> float:
        """The schedule: share of zeros when `fraction` of training is done."""
        t = min(1.0, fraction / self.ramp)
        return self.final + (self.start - self.final) * (1 - t) ** 3

    def before_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Choose the zeros anew, `refreshes` times during the ramp and once at its end."""
        ramp_steps = max(1, round(self.ramp * clock.steps))
        every = max(1, ramp_steps // self.refreshes)
        if self.keep and (clock.step > ramp_steps or (clock.step % every and clock.step != ramp_steps)):
            return
        folded = {name: (weights[name].detach().cpu() * factor).numpy() for name, factor in self.factors.items()}
        if not all(np.isfinite(values).all() for values in folded.values()):
            return  # training has diverged: the loss of this very step will say so
        keep = self.method.keep(folded, self.sparsity_at(clock.step / clock.steps))
        self.keep = {name: torch.from_numpy(row).to(weights[name].device) for name, row in keep.items()}

    def transform(self, weights: Weights) -> Weights:
        """Zeros where nothing is kept, gradients everywhere."""
        return weights | zeroed(weights, self.keep, self.inputs_first)

    def state(self) -> Weights:
        """What is kept, by weight name."""
        return {name: keep.to(torch.uint8) for name, keep in self.keep.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.keep = {name: keep.bool() for name, keep in state.items()}
