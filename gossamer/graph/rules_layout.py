# SPDX-License-Identifier: Apache-2.0
"""Rules for operators that move values without computing: the operator itself is applied to the planes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from gossamer.graph.calls import Call, Kept
from gossamer.graph.labels import Labelled, along, compact, support
from gossamer.graph.rules_elementwise import meet

Resize = Callable[[Call, Kept], Mapping[str, Any]]


def layout(call: Call) -> Any:
    """reshape, permute, split: run the operator on each plane."""
    (name, x), *_ = call.operands.items()
    runs = [call.run(name, plane) for plane in x.planes]
    if isinstance(call.result, list):
        for plane, parts in zip(x.planes, runs, strict=True):
            for part in parts:
                pin_alone(call, plane, part)
        return [part.with_planes(_apart(call, [run[i] for run in runs])) for i, part in enumerate(call.result)]
    return call.output(_apart(call, runs))


def pin_alone(call: Call, plane: Tensor, part: Tensor) -> None:
    """A part with a single channel would be empty without it."""
    if part.numel() == 1 < plane.numel():
        call.pin(part, "it is read alone")


def _apart(call: Call, planes: Sequence[Tensor]) -> list[Tensor]:
    """Where two planes now vary along one dim (heads and d flattened into channels), only the longer one can go on."""
    kept: list[Tensor] = []
    for plane in sorted(planes, key=lambda p: -len(np.unique(p.numpy()))):
        if any(set(support(plane)) & set(support(other)) for other in kept):
            call.pin(plane, "it is laid out along one dim with other channels")
        elif plane.numel() > 1:
            kept.append(plane)
    return kept


def layout_like(call: Call) -> Any:
    """reshape_as, view_as: as layout; the result loses what the other operand loses."""
    return call.output(meet(call, [layout(call), call.tensor("other")], len(call.shape)))


def new_shape(argument: str) -> Resize:
    """For an operator with an argument that is the shape of its result."""

    def resize(call: Call, kept: Kept) -> Mapping[str, Any]:
        written = list(call.written[argument])
        counts = kept.shape(call.result)[-len(written) :]
        changed = [now != was for now, was in zip(counts, call.shape[-len(written) :], strict=True)]
        sizes: list[Any] = []
        for size, count, change in zip(written, counts, changed, strict=True):
            # A node is a size that depends on the batch: where it also holds channels, only -1 can say it.
            sizes.append(size if size == -1 or not change else -1 if isinstance(size, fx.Node) else count)
        if call.name == "reshape" and sizes.count(-1) > 1:
            sizes = [count if was == -1 else size for was, count, size in zip(written, counts, sizes, strict=True)]
        return {argument: sizes}

    return resize


def unflatten_sizes(call: Call, kept: Kept) -> Mapping[str, Any]:
    """unflatten splits one dim into several: the sizes of these."""
    dim = call["dim"] % len(call.tensor("self").shape)
    return {"sizes": list(kept.shape(call.result)[dim : dim + len(call["sizes"])])}


# --- putting together


def concatenation(call: Call) -> Any:
    """cat: labels line up along the dim; across operands, those in the same place of another dim unite."""
    parts: list[Labelled] = [part for part in call["tensors"] if part.shape != (0,)]
    rank = len(call.shape)
    dim = call["dim"] % rank
    lines = [_line(call, part, dim) for part in parts]
    widest = np.broadcast_shapes(*((*line.shape[:dim], 1, *line.shape[dim + 1 :]) for line in lines))
    lines = [line.expand([*widest[:dim], line.shape[dim], *widest[dim + 1 :]]) for line in lines]
    others = [[plane for plane in part.planes if plane.shape[dim] == 1] for part in parts]
    return call.output([compact(torch.cat(lines, dim)), *_agree(call, others)])


def _line(call: Call, part: Labelled, dim: int) -> Tensor:
    """The plane of an operand that varies along `dim`; new labels that stay where it has none."""
    plane = part.plane(dim)
    if plane is None:
        plane = along(call.labels.fresh(part.shape[dim]), dim, len(part.shape))
        call.pin(plane, "it stays whole in a concatenation")
    return plane


def _agree(call: Call, operands: Sequence[Sequence[Tensor]]) -> Sequence[Tensor]:
    """Unite the planes of all operands place by place; what one of them has whole stays whole in all."""
    first, *rest = operands
    for planes in rest:
        for dim in {dim for plane in [*first, *planes] for dim in support(plane)}:
            mine = next((plane for plane in first if plane.shape[dim] > 1), None)
            other = next((plane for plane in planes if plane.shape[dim] > 1), None)
            if mine is not None and other is not None:
                call.labels.unite(mine, other)
            else:
                call.unite(mine, other)
    return first


def stacking(call: Call) -> Any:
    """stack: along a new dim, whose slots stay; the labels of the operands unite place by place."""
    dim = call["dim"] % len(call.shape)
    return call.output(_agree(call, [[plane.unsqueeze(dim) for plane in part.planes] for part in call["tensors"]]))


def padding(call: Call) -> Any:
    """pad: what is padded onto channels with a constant are new channels; padding an image adds none."""
    x, rank = call.tensor("self"), len(call.shape)
    planes = []
    for plane in x.planes:
        for dim in support(plane):
            before, after = _amounts(call)[dim]
            if before == after == 0:
                continue
            if call.arguments.get("mode", "constant") != "constant" or min(before, after) < 0:
                return call.protect("only constant padding adds channels:")
            plane = call.labels.couple(plane, [d for d in range(rank) if d != dim])
            ends = [along(call.labels.fresh(count), dim, rank) for count in (before, after)]
            plane = torch.cat([ends[0], plane, ends[1]], dim)
        planes.append(plane)
    return call.output(planes)


def pad_amounts(call: Call, kept: Kept) -> Mapping[str, Any]:
    """Padded channels are counted like any others."""
    pad = list(call.written["pad"])
    rank = len(call.shape)
    for dim, (before, after) in enumerate(_amounts(call)):
        keep = kept.dim(call.result, dim)
        if not keep.all():
            at = 2 * (rank - 1 - dim)
            pad[at : at + 2] = [int(keep[:before].sum()), int(keep[len(keep) - after :].sum())]
    return {"pad": pad}


def _amounts(call: Call) -> list[tuple[int, int]]:
    """What is padded before and after each dim; the argument lists the last dim first."""
    pairs = list(zip(call["pad"][::2], call["pad"][1::2], strict=True))
    return [(0, 0)] * (len(call.shape) - len(pairs)) + pairs[::-1]


def pixel_shuffle(call: Call) -> Any:
    """(C r r, H, W) to (C, H r, W r): the r r channels behind one output channel go together."""
    x, rank = call.tensor("self"), len(call.shape)
    channels = call.vector(x, rank - 3)
    if channels is None:
        return call.output()
    for dim in (rank - 2, rank - 1):
        call.pin(x.plane(dim), "channels become its pixels")
    folded = [plane for plane in x.planes if plane.shape[-3:] == (1, 1, 1)]
    coupled = call.labels.couple(channels.reshape(-1, call["upscale_factor"] ** 2), [1])
    return call.output([*folded, along(coupled, rank - 3, rank)])


# --- making new ones


def expansion(call: Call) -> Any:
    """expand: a dim made longer gets new labels, since its size is only a number in the graph."""
    x, shape = call.tensor("self"), call.shape
    lead = len(shape) - len(x.shape)
    planes = [plane.reshape((1,) * lead + plane.shape) for plane in x.planes]
    grown = [dim for dim, size in enumerate(shape) if size > 1 and (dim < lead or x.shape[dim - lead] == 1)]
    return call.output([*planes, *call.labels.fresh_planes(shape, grown)])


def expansion_like(call: Call) -> Any:
    """expand_as: as expand; the result loses what the other operand loses."""
    return call.output(meet(call, [expansion(call), call.tensor("other")], len(call.shape)))


def repetition(call: Call) -> Any:
    """repeat: channels come again in the same order; a dim of size 1 that is repeated gets new labels."""
    x, lead = call.tensor("self"), len(call.shape) - len(call.tensor("self").shape)
    grown = [d for d, size in enumerate(call.shape) if size > 1 and (d < lead or x.shape[d - lead] == 1)]
    return call.output([*(call.run("self", plane) for plane in x.planes), *call.labels.fresh_planes(call.shape, grown)])


def repeats(call: Call, kept: Kept) -> Mapping[str, Any]:
    """How often a dim of size 1 is repeated is its size."""
    x, counts, lead = call.tensor("self"), kept.shape(call.result), len(call.shape) - len(call.tensor("self").shape)
    written = list(call.written["repeats"])
    for dim, count in enumerate(counts):
        if count != call.shape[dim] and (dim < lead or x.shape[dim - lead] == 1):
            written[dim] = count
    return {"repeats": written}


def creation(call: Call) -> Any:
    """zeros, ones, full, empty: every dim has new labels."""
    return call.output(call.labels.fresh_planes(call.shape))


def no_channels(call: Call) -> Any:
    """A size, or a tensor of which nothing can be cut."""
    return call.result
