# SPDX-License-Identifier: Apache-2.0
"""Rate penalty: training on the bits that the file will need, with the grids learned.

Papers: D. Oktay, J. Ballé, S. Singh, A. Shrivastava, "Scalable Model Compression by Entropy Penalized
Reparameterization", ICLR 2020, arXiv 1906.06624, section 2, and S. Girish, K. Gupta, S. Singh, A. Shrivastava,
"LilNetX: Lightweight Networks with EXtreme Model Compression and Structured Sparsification", ICLR 2023,
arXiv 2204.02965, section 3. Loss: task + weight * bits(round(W' / D)), D the grids' steps, all trained together.
Steps are trained as in S. Esser et al., "Learned Step Size Quantization", ICLR 2020, arXiv 1902.08153, section 2.1.

With u = W' / D and q = round(u), a weight's bits are read from the coder's own table of what an integer of each bit
length would cost in its place, given its neighbours; between the table's entries they are interpolated (`on_grid`),
which is their mean under a noise as wide as a step. The bits' gradient pulls u towards 0, the more the rarer its
neighbours are: zeros, dead filters and coarse grids come out by themselves.

Cost: some passes over the weights in each step, and a coding of all weights every `refresh` steps.

Differs from the papers:
1. Integers are of the weights themselves (batch norm folded in), not of a latent behind a learned transform.
2. No learned prior: the tables come from the coder of the file, asked again every `refresh` steps.
3. Rounding is straight-through instead of noise, so that training sees the network of the file.
4. The penalty's weight is steered: bits per weight follow a schedule down to `target`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gossamer.coding.costs import Costs
from gossamer.tuning.adam import Adam, leaf_on
from gossamer.tuning.on_grid import laid_out_as, on_grid
from gossamer.tuning.plug import Clock, Plug, Weights
from gossamer.tuning.steering import MOST_TURN, Steered

FIRST_WEIGHT = 0.03
MOST_MOVE = 0.1  # of a tensor's weights in one step of training, root mean square, in grid steps or of their own size


class RatePenalty(Plug):
    """Bring the coded weights to `target` bits each during the first `ramp` of training, and keep them there.

    `factors` names the weights and says what to multiply them by before they are rounded; `costs` asks the coder.
    A step starts at `start`, or else at `coarseness` root mean squares of its tensor, and can move by `reach` in all,
    in logarithms. `inputs_first` as in `plug.alive`.
    """

    def __init__(
        self,
        factors: Mapping[str, Tensor],
        costs: Costs,
        *,
        target: float,
        start: Mapping[str, float] | None = None,
        coarseness: float = 0.5,
        ramp: float = 0.6,
        reach: float = 3.0,
        refresh: int = 50,
        inputs_first: Mapping[str, int] | None = None,
    ) -> None:
        if not target > 0:
            raise ValueError(f"target must be a positive number of bits per weight, got {target}")
        self.factors, self.costs, self.start = dict(factors), costs, dict(start or {})
        self.target, self.coarseness, self.ramp = target, coarseness, ramp
        self.inputs_first = dict(inputs_first or {})
        self.reach, self.refresh = reach, refresh
        self.steered, self.first_bits = Steered(FIRST_WEIGHT), 0.0
        self.steps: dict[str, Tensor] = {}  # logarithms, leaves that require gradients
        self._adam = Adam()
        self._tables: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._bits: Tensor | None = None  # a weight, of the weights as they are, and of their integers
        self._coded = 0.0
        self._clock = Clock(0, 1, 1)

    # -- what the file will hold -------------------------------------------------------------------------------

    def unit(self, name: str) -> Tensor:
        """The step of a tensor's grid, in its folded weights' units."""
        return self.steps[name].detach().exp()

    def integers(self, name: str, weight: Tensor) -> Tensor:
        """What the file will hold for a weight; the shape of `weight`."""
        return torch.round(self._scaled(name, weight.detach(), self.unit(name)))

    def _scaled(self, name: str, weight: Tensor, step: Tensor) -> Tensor:
        return weight * self.factors[name].to(weight.device) / step

    # -- the points of the loop --------------------------------------------------------------------------------

    def leaves(self) -> Iterable[Tensor]:
        """The logarithms of the steps."""
        return self.steps.values()

    def before_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """First grids at the start; new tables every `refresh` steps and at each epoch's first."""
        self._clock = clock
        for name, factor in self.factors.items():
            if name not in self.steps:
                spread = (weights[name].detach() * factor.to(weights[name].device)).square().mean().sqrt()
                first = torch.where(spread > 0, self.coarseness * spread, 1.0)
                self.steps[name] = first.fill_(self.start.get(name, float(first))).log().requires_grad_()
            self.steps[name] = leaf_on(self.steps[name], weights[name].device)
        within = clock.step % clock.steps_per_epoch
        if not self._tables or within % self.refresh == 0:
            for name in self.factors:
                integers = self.integers(name, weights[name]).to(torch.int32).cpu().contiguous().numpy()
                table = torch.from_numpy(self.costs(integers)).to(weights[name].device)
                self._tables[name] = laid_out_as(table, weights[name])

    def transform(self, weights: Weights) -> Weights:
        """Weights on their grids; gradients to the weights as if nothing had been rounded, and to the steps."""
        rounded, bits, coded, count = {}, [], [], 0
        for name, factor in self.factors.items():
            weight, sides = weights[name], self.inputs_first.get(name, 0)
            table = self._tables.get(name)  # none yet where a finished training is only looked at
            found = on_grid(weight, self.steps[name], factor.to(weight.device), table, sides)
            self._before[name], rounded[name] = found.scaled, found.rounded
            if found.bits is not None and found.coded is not None:
                bits.append(found.bits)
                coded.append(found.coded)
            count += weight.numel()
        if bits:
            self._bits, self._coded = torch.stack(bits).sum() / count, float(torch.stack(coded).sum()) / count
        return weights | rounded

    def penalty(self) -> Tensor:
        """Bits per weight times a weight that is steered so that the integers' bits follow their schedule."""
        assert self._bits is not None
        self.first_bits = self.first_bits or self._coded
        weight = self.steered.towards(self.bits_at(self._clock.fraction), self._coded, self._clock.steps)
        return weight * self._bits

    def bits_at(self, fraction: float) -> float:
        """The schedule: bits per weight when `fraction` of training is done."""
        left = 1 - min(1.0, fraction / self.ramp)
        return self.target + max(0.0, self.first_bits - self.target) * left**2

    def after_backward(self, weights: Mapping[str, Tensor]) -> None:
        """One step of Adam on the grids, at a rate that falls with half a cosine."""
        rate = self.reach / self._clock.steps * (1 + math.cos(math.pi * self._clock.fraction)) / 2
        self._adam.step(self.steps, rate, self._clock.step + 1)

    def after_step(self, clock: Clock, weights: Mapping[str, Tensor]) -> None:
        """Weights that jump from one side of zero to the other do not get smaller: then the penalty is too strong."""
        with torch.no_grad():
            moves = [
                # on a fine grid a tenth of a step is nothing: there the weights' own size counts
                (self._scaled(name, weights[name], self.unit(name)) - before).square().mean()
                / before.square().mean().clamp(min=1)
                for name, before in self._before.items()
            ]
        fastest = float(torch.stack(moves).max().sqrt())
        if fastest > MOST_MOVE:
            self.steered.weight *= max(MOST_MOVE / fastest, 1 - MOST_TURN) * math.exp(-MOST_TURN)

    def words(self) -> str:
        """The bits of the integers as they are, and where the schedule wants them."""
        return f"{self._coded:.2f} bits a weight, {self.bits_at(self._clock.fraction):.2f} wanted"

    def state(self) -> Weights:
        """Steps and their moments by weight name, the penalty's weight, and the bits it began with."""
        state = {"weight": torch.tensor([self.steered.weight, self.first_bits], dtype=torch.float64)}
        state |= {f"step/{name}": step.detach() for name, step in self.steps.items()}
        return state | self._adam.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self.steered.weight, self.first_bits = (float(value) for value in state["weight"])
        for name in self.factors:
            if f"step/{name}" in state:
                self.steps[name] = state[f"step/{name}"].clone().requires_grad_()
        self._adam.load_state(state)
