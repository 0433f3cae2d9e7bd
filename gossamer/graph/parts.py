# SPDX-License-Identifier: Apache-2.0
"""Parts: channels of which every part of a group must keep equally many, such as the groups of a grouped convolution.

A convolution in 32 groups of 4 channels may lose channel 2 of its first group and channel 3 of its second, but not
two of the one and one of the other: the groups would have different widths. Rules note such constraints as arrays of
labels (parts, n). Where one constraint divides a channel group evenly, the group is *regular*: any choice with equal
counts is a cut. Two constraints on one group (a shuffle between two grouped convolutions) divide it into cells. What
is not regular is coupled across its parts, which satisfies the constraint whatever is chosen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from gossamer.graph.analysis import Analysis

Signature = tuple[int, str, str]
"""What the units of a group have in common: their places, and why they are pinned or inexact."""

Indices = NDArray[np.intp]


def signatures(analysis: Analysis) -> list[Signature]:
    """The signature of every class."""
    return list(zip(_places(analysis).tolist(), analysis.classes.pinned, analysis.classes.inexact, strict=True))


def find_parts(analysis: Analysis, equal: Sequence[Tensor]) -> tuple[Indices, list[Tensor]]:
    """The part that each class belongs to, (classes,), and the constraints that are not regular."""
    signature = signatures(analysis)
    constraints: dict[Signature, list[tuple[Tensor, Indices, Indices]]] = defaultdict(list)
    irregular: list[Tensor] = []
    for parts in equal:
        classes = analysis.classes(parts)
        if (np.sort(classes, 1) == np.sort(classes[0])).all():
            continue  # coupled across its parts
        divided = _divided(classes)
        owners = set() if divided is None else {signature[unit] for unit in divided[0]}
        if divided is None or len(owners) > 1:
            irregular.append(parts)
        else:
            constraints[owners.pop()].append((parts, *divided))
    part = np.zeros(len(signature), np.intp)
    for entries in constraints.values():
        units = entries[0][1]
        rows = np.stack([row for _, _, row in entries], 1)
        cells, cell, sizes = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
        if len(cells) == len(units):  # nothing would be left to choose
            irregular += [parts for parts, _, _ in entries]
        elif (sizes != sizes[0]).any():
            irregular += [parts for parts, _, _ in entries[1:]]
        part[units] = cell.reshape(-1)
    return part, irregular


def _divided(classes: Indices) -> tuple[Indices, Indices] | None:
    """The classes of an array (parts, n) and the one part each is in; None where a class is in several, or is there
    more often than others."""
    rows = np.broadcast_to(np.arange(len(classes))[:, None], classes.shape).ravel()
    order = np.argsort(classes, axis=None, kind="stable")
    units, starts, counts = np.unique(classes.ravel()[order], return_index=True, return_counts=True)
    first, last = np.minimum.reduceat(rows[order], starts), np.maximum.reduceat(rows[order], starts)
    return (units, first) if (first == last).all() and (counts == counts[0]).all() else None


def _places(analysis: Analysis) -> NDArray[np.uint64]:
    """Per class a number that is equal for classes that appear equally often in the same dims of the same tensors.

    Each (tensor, dim) draws a random number; a class sums those of its places (a Zobrist hash).
    """
    random = np.random.default_rng(0)
    places = np.zeros(len(analysis.classes.pinned), np.uint64)

    def add(line: Indices) -> None:
        units, counts = np.unique(line, return_counts=True)
        places[units] += counts.astype(np.uint64) * random.integers(1, 2**63, dtype=np.uint64)

    seen: set[int] = set()
    for tensor in analysis.labelled():
        if all(id(plane) in seen for plane in tensor.planes):
            continue
        seen.update(id(plane) for plane in tensor.planes)
        for line in analysis.axes(tensor).values():
            add(line)
    for rows in analysis.ragged.values():
        add(rows)
    return places
