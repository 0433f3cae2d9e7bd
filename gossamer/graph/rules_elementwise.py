# SPDX-License-Identifier: Apache-2.0
"""Rules for operators that compute element by element."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gossamer.graph.calls import Call
from gossamer.graph.labels import Labelled, support


def same(call: Call) -> Labelled:
    """relu, dropout, clone: the result has the labels of the first tensor."""
    return call.output(next(iter(call.operands.values())).planes)


def elementwise(call: Call) -> Labelled:
    """add, mul, where: labels that meet in one place unite; what is broadcast along channels is neutral."""
    return call.output(meet(call, list(call.operands.values()), len(call.shape)))


def prelu(call: Call) -> Labelled:
    """The slope has one value, or one per channel along dim 1."""
    x, slope = call.tensor("self"), call.tensor("weight")
    call.role(slope, 0, "factor")
    if slope.shape[0] > 1:
        call.unite(call.vector(x, 1), call.vector(slope, 0))
    return call.output(x.planes)


def meet(call: Call, operands: Sequence[Labelled], rank: int) -> list[Tensor]:
    """Make every pair of operands agree under broadcasting; returns the planes of the result, of `rank` dims."""
    operands = [_aligned(operand, rank) for operand in operands]
    merged: list[Tensor] = []
    for operand in operands:
        for plane in operand.planes:
            dims = support(plane)
            for other in operands:
                if other is not operand:
                    plane = _against(call, plane, dims, other)
            if not any(set(support(known)) & set(dims) for known in merged):
                merged.append(plane)
    return merged


def _aligned(tensor: Labelled, rank: int) -> Labelled:
    """The tensor with leading dims of size 1, as broadcasting sees it."""
    lead = (1,) * (rank - len(tensor.shape))
    return Labelled(lead + tensor.shape, tuple(plane.reshape(lead + plane.shape) for plane in tensor.planes))


def _against(call: Call, plane: Tensor, dims: Sequence[int], other: Labelled) -> Tensor:
    """Unite a plane with the planes of another operand that overlap it; see to the dims that operand has whole."""
    opposite = [candidate for candidate in other.planes if set(support(candidate)) & set(dims)]
    for candidate in opposite:
        call.labels.unite(plane, candidate)
    covered = {dim for candidate in opposite for dim in support(candidate)}
    whole = [dim for dim in dims if other.shape[dim] > 1 and dim not in covered]
    if len(whole) == len(dims):
        call.pin(plane, "it meets a tensor that stays whole")
        return plane
    return call.labels.couple(plane, whole)
