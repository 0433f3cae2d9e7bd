# SPDX-License-Identifier: Apache-2.0
"""Gates: one factor a channel, multiplied into the weights that read the channel, with a gradient towards the factor.

Behind any activation that is the same as a factor on the channel itself; on what makes the channel it is not, and a
depthwise convolution with its batch norm in between would take it twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from gossamer.graph import Group
from gossamer.graph.groups import Member
from gossamer.tuning.plug import Weights


def reading(group: Group) -> list[Member]:
    """The members that a factor on the channel as it is read multiplies."""
    return [member for member in group.members if member.role == "column"]


def gated(weights: Weights, gates: Iterable[tuple[list[Member], Tensor]]) -> Weights:
    """The weights with each gate's factors (K,) multiplied into the slots of its members; others are left out."""
    changed: Weights = {}
    for members, factors in gates:
        for member in members:
            if member.tensor in weights:
                weight = changed.get(member.tensor, weights[member.tensor])
                changed[member.tensor] = _times(weight, member, factors)
    return changed


def _times(weight: Tensor, member: Member, factors: Tensor) -> Tensor:
    flat = weight.flatten(0, 1) if member.ragged else weight.movedim(member.dim, 0)
    slots = torch.from_numpy(member.index.ravel()).to(weight.device)
    line = torch.ones(len(flat), dtype=factors.dtype, device=weight.device)
    line = line.index_copy(0, slots, factors.to(weight.device).repeat_interleave(member.index.shape[1]))
    times = flat * line.reshape(-1, *[1] * (flat.ndim - 1)).to(flat.dtype)
    return times.reshape(weight.shape) if member.ragged else times.movedim(0, member.dim)


def fold_in(tensors: Mapping[str, Tensor], members: Iterable[Member], factors: Tensor) -> None:
    """Multiply factors (K,) into a network's own tensors, in place."""
    with torch.no_grad():
        for member in members:
            tensors[member.tensor].copy_(_times(tensors[member.tensor], member, factors.detach()))
