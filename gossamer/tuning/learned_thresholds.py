# SPDX-License-Identifier: Apache-2.0
"""Learned thresholds: what is pruned of each layer is decided by gradient descent.

Paper: F. Manessi, A. Rozza, S. Bianco, P. Napoletano, R. Schettini, "Automated Pruning for Deep Neural Network
Compression", ICPR 2018, arXiv 1712.01721. Forward with v(w), s the logistic function and t a threshold of the layer:

    v(w) = ReLU(w - b) + b s(beta (w - b)) - ReLU(-w - a) - a s(beta (-w - a))        a = b = t, or each learned

    loss + pull sum_l n_l / n mean over w of s(beta (|w| - t_l))                       n_l weights of n
    beta from 10 to 1000, in spreads of the layer; at the end exactly zero where -a < w < b

Cost: some passes over the weights in each step, two sigmoids a weight among them.

Differs from the paper: the function is known, the rest is reconstructed from its abstract.
1. The regulariser, the share of survivors made smooth, is ours; so is how beta grows.
2. t = spread x softplus(u) with u learned by Adam, and at most 3 spreads.
3. With `target`, `pull` is steered so that the share of survivors follows a schedule down to it, and all thresholds are
   multiplied by one factor at the end, with which exactly so many weights are zero.
4. A filter all of whose weights are below the threshold gets no gradient of the loss (`plug.StraightThrough`).
5. There is no term on v(w): the weights themselves decay as the loop has it, those below a threshold too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gossamer.tuning.adam import Adam, leaf_on
from gossamer.tuning.plug import Clock, Plug, Weights, alive
from gossamer.tuning.steering import Steered

FIRST, MOST = 0.2, 3.0  # thresholds at the start and at most, in spreads
SHARPNESS = 10.0, 1000.0  # beta at the start and at the end
REACH = 8.0  # how far u could move in all; with the falling rate, half as far
FIRST_PULL = 0.1  # where it is steered


class Thresholded(torch.autograd.Function):
    """v(w) of (filters, ...), and the sum over w of the survivors' smooth indicator, ()."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, a: Tensor, b: Tensor, beta: float, inputs_first: int
    ) -> tuple[Tensor, Tensor]:
        """a, b: thresholds below and above zero, (); `inputs_first` as in `plug.alive`."""
        below, above = torch.sigmoid(beta * (-weight - a)), torch.sigmoid(beta * (weight - b))
        ctx.save_for_backward(weight, a, b, below, above)
        ctx.beta, ctx.inputs_first = beta, inputs_first
        value = functional.relu(weight - b) + b * above - functional.relu(-weight - a) - a * below
        return value, torch.where(weight > 0, above, below).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """By the formulas of the derivatives of v and of the indicator."""
        weight, a, b, below, above = ctx.saved_tensors
        of_value, of_survivors = gradients
        steep_below, steep_above = ctx.beta * below * (1 - below), ctx.beta * above * (1 - above)
        over, under = (weight > b).to(weight.dtype), (weight < -a).to(weight.dtype)
        of_value = of_value * alive(over + under, ctx.inputs_first)
        positive = (weight > 0).to(weight.dtype)
        indicator = positive * steep_above - (1 - positive) * steep_below
        to_weight = of_value * (over + b * steep_above + under + a * steep_below) + of_survivors * indicator
        to_b = (of_value * (above - over - b * steep_above)).sum() - of_survivors * (positive * steep_above).sum()
        to_a = (of_value * (under - below + a * steep_below)).sum() - of_survivors * (
            (1 - positive) * steep_below
        ).sum()
        return to_weight, to_a, to_b, None, None


class LearnedThresholds(Plug):
    """Learn one threshold for each named weight, or one on each side of zero.

    `target`: the share of zeros that the pull is steered to, during the first `ramp` of training; None keeps it.
    `inputs_first` as in `plug.alive`.
    """

    def __init__(
        self,
        names: Iterable[str],
        *,
        target: float | None = None,
        pull: float = FIRST_PULL,
        symmetric: bool = True,
        ramp: float = 0.7,
        inputs_first: Mapping[str, int] | None = None,
    ) -> None:
        if target is not None and not 0 <= target < 1:
            raise ValueError(f"target must be a share of the weights in [0, 1), got {target}")
        if not pull > 0:
            raise ValueError(f"pull must be positive, got {pull}")
        self.names, self.target, self.symmetric, self.ramp = list(names), target, symmetric, ramp
        self.inputs_first = dict(inputs_first or {})
        self.steered, self.first_share = Steered(pull), 0.0
        first = math.log(math.expm1(FIRST))
        sides = ("both",) if symmetric else ("below", "above")
        self.raw = {f"{name}/{side}": torch.tensor(first, requires_grad=True) for name in self.names for side in sides}
        self.spreads: dict[str, float] = {}
        self.hard, self.factor = False, 1.0  # whether it is over, and what thresholds are then multiplied by
        self._adam, self._clock = Adam(), Clock(0, 1, 1)
        self._survivors: Tensor | None = None  # their share, smooth

    def thresholds(self, name: str) -> tuple[Tensor, Tensor]:
        """Below and above zero, both positive, ()."""
        sides = ("both", "both") if self.symmetric else ("below", "above")
        raw = [functional.softplus(self.raw[f"{name}/{side}"]).clamp(max=MOST) for side in sides]
        return self.spreads[name] * raw[0], self.spreads[name] * raw[1]

    def leaves(self) -> Iterable[Tensor]:
        """The thresholds before softplus."""
        return self.raw.values()

    def before_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Spreads at the start; whatever else is asked goes by the clock."""
        self._clock = clock
        if not self.spreads:
            self.spreads = {name: max(float(weights[name].detach().std(correction=0)), 1e-12) for name in self.names}
        for name, leaf in self.raw.items():
            self.raw[name] = leaf_on(leaf, weights[name.rpartition("/")[0]].device)

    def transform(self, weights: Weights) -> Weights:
        """v(w); exact zeros and whole survivors once training is over."""
        changed: Weights = {}
        survivors, count = [], 0
        for name in self.names if self.spreads else ():
            weight, (a, b) = weights[name], self.thresholds(name)
            if self.hard:
                changed[name] = torch.where(_sizes(weight, a, b) > self.factor, weight, 0.0)
                continue
            beta = SHARPNESS[0] * (SHARPNESS[1] / SHARPNESS[0]) ** self._clock.fraction / self.spreads[name]
            changed[name], survived = Thresholded.apply(weight, a, b, beta, self.inputs_first.get(name, 0))
            survivors.append(survived)
            count += weight.numel()
        self._survivors = torch.stack(survivors).sum() / count if survivors else None
        return weights | changed

    def penalty(self) -> Tensor | None:
        """pull x share of survivors"""
        if self._survivors is None:
            return None
        if self.target is None:
            return self.steered.weight * self._survivors
        now = float(self._survivors.detach())
        self.first_share = self.first_share or now
        return self.steered.towards(self.share_at(self._clock.fraction), now, self._clock.steps) * self._survivors

    def share_at(self, fraction: float) -> float:
        """The schedule: share of survivors when `fraction` of training is done, a straight line in logarithms."""
        assert self.target is not None
        done = min(1.0, fraction / self.ramp)
        least = min(1 - self.target, self.first_share)
        return float(self.first_share * (least / self.first_share) ** done)

    def after_backward(self, weights: Mapping[str, Tensor]) -> None:
        """One step of Adam on the thresholds, at a rate that falls with half a cosine."""
        rate = REACH / self._clock.steps * (1 + math.cos(math.pi * self._clock.fraction)) / 2
        self._adam.step(self.raw, rate, self._clock.step + 1)

    def after_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """After the last step, what is below a threshold is zero; where a share was asked for, so many."""
        self.hard = clock.step + 1 == clock.steps
        if self.hard and self.target is not None and self.names:
            sizes = [_sizes(weights[name].detach(), *self.thresholds(name)).flatten().cpu() for name in self.names]
            every = torch.cat(sizes).sort().values
            count = round(self.target * len(every))
            self.factor = float(every[count - 1]) if count else -1.0

    def words(self) -> str:
        """The survivors as they are."""
        return "" if self._survivors is None else f"{100 * float(self._survivors.detach()):.1f} % left"

    def state(self) -> Weights:
        """Thresholds and spreads by weight name, moments, the pull, the share at the start, whether it is over."""
        pull = [self.steered.weight, self.first_share, self.hard, self.factor]
        state = {"pull": torch.tensor(pull, dtype=torch.float64)}
        state |= {f"raw/{name}": value.detach() for name, value in self.raw.items()}
        state |= {f"spread/{name}": torch.tensor(value, dtype=torch.float64) for name, value in self.spreads.items()}
        return state | self._adam.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.steered.weight, self.first_share = (float(value) for value in state["pull"][:2])
        self.hard, self.factor = bool(state["pull"][2]), float(state["pull"][3])
        self.raw = {name: state[f"raw/{name}"].clone().requires_grad_() for name in self.raw}
        self.spreads = {name: float(state[f"spread/{name}"]) for name in self.names if f"spread/{name}" in state}
        self._adam.load_state(state)


def _sizes(weight: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Magnitudes in units of the threshold on their side of zero."""
    return torch.where(weight > 0, weight / b.detach(), -weight / a.detach())
