# SPDX-License-Identifier: Apache-2.0
"""Grid rounding: training with the weights that the file will hold.

Quantization-aware training by the straight-through estimator (B. Jacob et al., "Quantization and Training of
Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, arXiv 1712.05877, section 3) on one
uniform grid a tensor: W' = D round(W' / D), W' the weight with its batch norm folded in, D the grid's step.

Differs from the paper:
1. Weights only; activations stay in floating point.
2. No zero point and no range: a coder spends few bits on rare large integers, so nothing is clipped.
3. D is `coarseness` times the tensor's root mean square (zeros counted), followed until `freeze`, then fixed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gossamer.tuning.plug import Clock, Plug, Weights, straight_through


class GridRounding(Plug):
    """Round weights to grids from `start` (a share of training) on.

    `factors` names the weights and says what to multiply them by before they are rounded.
    """

    def __init__(
        self, factors: Mapping[str, Tensor], *, coarseness: float, start: float = 0.0, freeze: float = 0.6
    ) -> None:
        self.factors = dict(factors)
        self.coarseness, self.start, self.freeze = coarseness, start, freeze
        self.steps: dict[str, Tensor] = {}

    def before_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Follow the spread of the weights until the grids are frozen."""
        if clock.fraction < self.start or (self.steps and clock.fraction > self.freeze):
            return
        for name, factor in self.factors.items():
            spread = (weights[name].detach() * factor.to(weights[name].device)).square().mean().sqrt()
            self.steps[name] = self.coarseness * torch.where(spread > 0, spread, 1.0)

    def transform(self, weights: Weights) -> Weights:
        """Folded, rounded, unfolded; gradients as if nothing had been rounded."""
        rounded = {}
        for name, step in self.steps.items():
            unit = (step.cpu() / self.factors[name]).to(weights[name].device)
            rounded[name] = straight_through(weights[name], torch.round(weights[name].detach() / unit) * unit)
        return weights | rounded

    def state(self) -> Weights:
        """The steps, by weight name."""
        return dict(self.steps)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.steps = dict(state)
