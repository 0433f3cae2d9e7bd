# SPDX-License-Identifier: Apache-2.0
"""Importance weights: one trained factor a channel, which says how much the channel counts.

Paper: S. S. Sawant et al., Applied Sciences 12(21), 2022, 11184.

    y_i = a_i (W_i * x + b_i)            a_i is learned with the network, with a penalty  strength sum |a_i|

Cost: a product for each weight that reads a channel, in each step.

Differs from the paper: reconstructed from its abstract.
1. a_i acts where the channel is read, behind batch norm and activation: a norm behind a_i would take it out again.
2. a learns at `rate` times the network's learning rate; the penalty is ours, and can be 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gossamer.graph import Group
from gossamer.tuning.gates import gated, reading
from gossamer.tuning.plug import Learned, Plug, Weights


class ImportanceWeights(Plug):
    """`starts`: per group of channels, (K,), the first values of its weights."""

    def __init__(
        self, groups: Sequence[Group], starts: Mapping[str, Tensor], rate: float = 10.0, strength: float = 1e-4
    ) -> None:
        if rate <= 0 or strength < 0:
            raise ValueError(f"rate must be positive and strength not negative, got {rate}, {strength}")
        self.members = {group.name: reading(group) for group in groups}
        self.values = {group.name: starts[group.name].clone().requires_grad_() for group in groups}
        self.rate, self.strength = rate, strength

    def parameters(self) -> dict[str, Learned]:
        """The weights of each group."""
        return {name: Learned(value, self.rate) for name, value in self.values.items()}

    def transform(self, weights: Weights) -> Weights:
        """Every channel times its weight."""
        return weights | gated(weights, ((self.members[name], value) for name, value in self.values.items()))

    def penalty(self) -> Tensor | None:
        """strength sum |a|"""
        if not self.strength or not self.values:  # nothing is left to be cut
            return None
        return self.strength * torch.stack([value.abs().sum() for value in self.values.values()]).sum()

    def state(self) -> Weights:
        """The weights."""
        return dict(self.values)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for name, value in state.items():
            self.values[name].data.copy_(value)
