# SPDX-License-Identifier: Apache-2.0
"""Groups: channels that can be removed one by one, each with everything that must go with it.

A *unit* is one class of labels: one channel with its filter, its norm parameters and the slices that read it. Units
that appear in exactly the same places of the network form a `Group`, which shows itself to criteria as matrices
with one row per unit. Since its units appear in the same places, a group that keeps one unit empties no tensor; one
that keeps none ends its branch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from gossamer.graph.analysis import Analysis
from gossamer.graph.calls import is_tensor
from gossamer.graph.parts import Signature, signatures

Slots = tuple[str, int, NDArray[np.intp]]
"""Where one unit is in one tensor: name, dim, and the slots along it."""

_RAGGED = -1  # the dim of slots in a ragged weight: columns, counted over its first two dims flattened


@dataclass(frozen=True, eq=False)
class Member:
    """The slots of a parameter or buffer that belong to a group: `index[k]` along `dim` are those of unit k.

    The weight of a grouped convolution is read with its first two dims flattened into one, `ragged`: each group of
    rows has columns of its own.

    `role`: 'row' produces the channel, 'column' reads it; 'bias'; 'scale', 'shift', 'mean', 'var' of a norm;
    'index' lists it; 'factor' is anything else that is multiplied or added.
    """

    tensor: str
    dim: int
    role: str
    index: NDArray[np.intp]
    ragged: bool = False

    def matrix(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The slots of every unit as one row, (K, features)."""
        tensor = tensors[self.tensor]
        tensor = tensor.flatten(0, 1) if self.ragged else tensor.movedim(self.dim, 0)
        return tensor[torch.from_numpy(self.index).to(tensor.device)].reshape(len(self.index), -1)


@dataclass(frozen=True, eq=False)
class Group:
    """K channels, each removable with what depends on it. Named after the first parameter that produces them.

    `removable` is False where a `reason` keeps all of them. `exact` is False where a removal changes what the
    remaining channels compute (a norm over channels): such a group is cut only if its name is given. `part`, (K,),
    says which part of the group a channel belongs to: every part must keep equally many (the groups of a grouped
    convolution), so the number kept is a `multiple_of` the number of parts.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    classes: NDArray[np.intp]
    removable: bool
    exact: bool
    reason: str
    part: NDArray[np.intp]

    @property
    def multiple_of(self) -> int:
        """What the number of channels kept must be a multiple of."""
        return int(self.part.max()) + 1

    def whole(self, count: int) -> int:
        """So many channels or a few more, at most all, that are equally many of each part."""
        return min(self.size, -(-count // self.multiple_of) * self.multiple_of)

    def best(self, score: NDArray[np.floating], count: int) -> NDArray[np.bool_]:
        """What to keep, bool (K,), to keep the `count` channels of highest `score` (K,), equally many of each part.

        Ties go to the first. Raises ValueError for a count that is no multiple of `multiple_of`.
        """
        each, rest = divmod(count, self.multiple_of)
        if rest or not 0 <= count <= self.size:
            raise ValueError(
                f"group '{self.name}' must keep a multiple of {self.multiple_of} of its {self.size} channels, "
                f"got {count}"
            )
        ranked = np.lexsort((-np.asarray(score), self.part))  # part by part, the best first
        keep = np.zeros(self.size, np.bool_)
        keep[ranked.reshape(self.multiple_of, -1)[:, :each]] = True
        return keep

    def rows(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """The filters that produce the channels, one matrix (K, features) per convolution or linear layer."""
        return self._matrices("row", tensors)

    def columns(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """The slices of weights that read the channels, one matrix (K, features) per consumer."""
        return self._matrices("column", tensors)

    def scales(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """The weights of the norms on these channels, (K,) each."""
        return self._vectors("scale", tensors)

    def shifts(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """The biases of the norms on these channels, (K,) each."""
        return self._vectors("shift", tensors)

    def _matrices(self, role: str, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return [member.matrix(tensors) for member in self.members if member.role == role]

    def _vectors(self, role: str, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        return [column for matrix in self._matrices(role, tensors) for column in matrix.unbind(1)]

    def __str__(self) -> str:
        state = "removable" if self.removable else f"stays: {self.reason}"
        if self.removable and not self.exact:
            state = f"removable, not exact: {self.reason}"
        parts = f", equally many of each of {self.multiple_of} parts" if self.multiple_of > 1 else ""
        lines = [f"{self.name}: {self.size} channels, {state}{parts}"]
        for member in self.members:
            slots = "" if member.index.shape[1] == 1 else f", {member.index.shape[1]} slots each"
            lines.append(f"  {member.role:<6} {member.tensor} dim {member.dim}{slots}")
        return "\n".join(lines)


def find_groups(analysis: Analysis) -> tuple[Group, ...]:
    """All groups of a network in forward order."""
    order = _first_use(analysis)
    slots: dict[int, list[Slots]] = defaultdict(list)
    produced: set[int] = set()
    for name in sorted(order, key=order.__getitem__):
        lines = analysis.axes(analysis.tensors[name])
        if name in analysis.ragged:
            lines[_RAGGED] = analysis.ragged[name].ravel()
        for dim, line in lines.items():
            units, starts = np.unique(np.sort(line), return_index=True)
            for unit, index in zip(units.tolist(), np.split(np.argsort(line, kind="stable"), starts[1:]), strict=True):
                slots[unit].append((name, dim, index))
            if analysis.roles.get((name, abs(dim)), "column") != "column":
                produced.update(units.tolist())
    signature = signatures(analysis)
    together: dict[Signature, list[int]] = defaultdict(list)
    for unit in slots:
        if unit in produced:
            together[signature[unit]].append(unit)
    groups = [
        _group(analysis, {unit: slots[unit] for unit in units}, pinned, inexact)
        for (_, pinned, inexact), units in together.items()
    ]
    return tuple(_distinct(sorted(groups, key=lambda group: order[group.members[0].tensor])))


def _group(
    analysis: Analysis,
    slots: Mapping[int, Sequence[Slots]],
    pinned: str,
    inexact: str,
) -> Group:
    """One group of units that have their slots in the same places; units in the order of their first slots."""
    units = sorted(slots, key=lambda unit: slots[unit][0][2][0])
    members = [
        Member(
            name,
            abs(dim),
            analysis.roles.get((name, abs(dim)), "factor"),
            np.stack([slots[unit][i][2] for unit in units]),
            ragged=dim == _RAGGED,
        )
        for i, (name, dim, _) in enumerate(slots[units[0]])
    ]
    members.sort(key=lambda member: member.role != "row")  # stable: producers first
    alone = "" if len(units) > 1 else "it is a single channel"
    return Group(
        name=members[0].tensor,
        size=len(units),
        members=tuple(members),
        classes=np.array(units, np.intp),
        removable=not (pinned or alone),
        exact=not inexact,
        reason=pinned or alone or inexact,
        part=np.unique(analysis.part[units], return_inverse=True)[1],
    )


def _distinct(groups: Sequence[Group]) -> list[Group]:
    """Where one parameter produces several groups, each name says which slots it means: 'conv.weight[0:16]'."""
    names = [group.name for group in groups]
    result = []
    for group in groups:
        if names.count(group.name) > 1:
            index = group.members[0].index
            group = replace(group, name=f"{group.name}[{index.min()}:{index.max() + 1}]")
        result.append(group)
    return result


def _first_use(analysis: Analysis) -> dict[str, int]:
    """Tensor name -> the position of the first operator that reads it, evaluation form first."""
    order: dict[str, int] = {}
    for calls in (analysis.calls[False], analysis.calls[True]):
        for call in calls:
            for value in pytree.tree_leaves(list(call.arguments.values())):
                if is_tensor(value) and value.source in analysis.tensors:
                    order.setdefault(value.source, len(order))
    return order
