# SPDX-License-Identifier: Apache-2.0
"""Dynamic network surgery: weights are switched off and on again while the network trains, as their size says.

Paper: Y. Guo, A. Yao, Y. Chen, "Dynamic Network Surgery for Efficient DNNs", NeurIPS 2016, arXiv 1608.04493, section 3
and the authors' code. Per layer, with mu and s the mean and the spread of |w| at the start and th = max(mu + c s, 0):

    off where |w| <= 0.9 th,  on where |w| > 1.1 th,  as it was in between
    in iteration i with probability (1 + g i)^-p, and no more after a part of training; all weights receive gradients

Cost: a comparison a weight and surgery, a product a weight and step.

Differs from the paper:
1. c is not set by hand for each layer: it follows from the share of weights, `target`, that the first surgery is to
   switch off.
2. A filter that is off as a whole gets no gradient, as `plug.StraightThrough` says why.
3. A quarter of training comes after the last surgery, in place of a number of iterations.
4. Weights that are off decay as all others do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gossamer.tuning.plug import Clock, Plug, Weights, zeroed

BELOW, ABOVE = 0.9, 1.1


class DynamicSurgery(Plug):
    """Switch the named weights off and on; `target`: the share that is off at the start.

    `gamma` and `power`: g and p of the formula, those of the authors' LeNet-5. `inputs_first` as in `plug.alive`.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        target: float,
        gamma: float = 1e-4,
        power: float = 1.0,
        until: float = 0.75,
        seed: int = 0,
        inputs_first: Mapping[str, int] | None = None,
    ) -> None:
        if not 0 <= target < 1:
            raise ValueError(f"target must be a share of the weights in [0, 1), got {target}")
        self.names, self.target, self.seed = list(names), target, seed
        self.gamma, self.power, self.until = gamma, power, until
        self.inputs_first = dict(inputs_first or {})
        self.keep: dict[str, Tensor] = {}
        self.thresholds: dict[str, float] = {}
        self._words = ""

    def before_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Surgery in the first step, and by chance in later ones."""
        if not self.thresholds:
            self.thresholds = {name: self._threshold(weights[name].detach()) for name in self.names}
        elif clock.fraction > self.until or not self._operates(clock.step):
            return
        for name in self.names:
            size = weights[name].detach().abs()
            before = self.keep[name].to(size.device) if name in self.keep else torch.ones_like(size, dtype=torch.bool)
            threshold = self.thresholds[name]
            self.keep[name] = torch.where(before, size > BELOW * threshold, size > ABOVE * threshold)
        total = sum(keep.numel() for keep in self.keep.values())
        off = sum(int((~keep).sum()) for keep in self.keep.values())
        self._words = f"{100 * off / max(1, total):.1f} % zero"

    def _threshold(self, weight: Tensor) -> float:
        place = round(self.target * weight.numel())
        return float(weight.abs().flatten().sort().values[place - 1]) / BELOW if place else 0.0

    def _operates(self, step: int) -> bool:
        """Drawn from (seed, step) alone, so that a resumed training does the same."""
        drawn = torch.rand((), generator=torch.Generator().manual_seed(self.seed * 1_000_003 + step))
        return bool(float(drawn) < (1 + self.gamma * step) ** -self.power)

    def transform(self, weights: Weights) -> Weights:
        """Zeros where a weight is off, gradients everywhere."""
        return weights | zeroed(weights, self.keep, self.inputs_first)

    def words(self) -> str:
        """How many are zero."""
        return self._words

    def state(self) -> Weights:
        """Masks and thresholds by weight name."""
        state = {f"keep/{name}": keep.to(torch.uint8) for name, keep in self.keep.items()}
        return state | {
            f"threshold/{name}": torch.tensor(value, dtype=torch.float64) for name, value in self.thresholds.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for name in self.names:
            if f"keep/{name}" in state:
                self.keep[name] = state[f"keep/{name}"].bool()
                self.thresholds[name] = float(state[f"threshold/{name}"])
