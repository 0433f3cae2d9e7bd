# SPDX-License-Identifier: Apache-2.0
"""Rules for operators that take parts of a tensor: slices, single channels, lists of channels, windows of an image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gossamer.graph.calls import Call, Kept
from gossamer.graph.labels import Labelled, along, compact, support
from gossamer.graph.rules_layout import layout, pin_alone


def take_slice(call: Call) -> Any:
    """slice: a stride passes along an image, not along labels (channels, dim 1, were made an index_select)."""
    x = call.tensor("self")
    if call["step"] != 1:
        call.pin(x.plane(call["dim"] % len(x.shape)), f"every {call['step']}th is taken")
    for plane in x.planes:
        pin_alone(call, plane, call.run("self", plane))
    return layout(call)


def slice_bounds(call: Call, kept: Kept) -> Mapping[str, Any]:
    """Bounds are counted in what is kept before them."""
    keep = kept.dim(call.tensor("self"), call["dim"])
    if keep.all():
        return {}
    start, end, _ = slice(call["start"], call["end"]).indices(len(keep))
    return {"start": int(keep[:start].sum()), "end": int(keep[:end].sum())}


def take_listed(call: Call) -> Any:
    """index_select: the slots that a constant index lists, in its order."""
    x, index = call.tensor("self"), call.constant("index")
    if index is None:
        return call.protect("Gossamer cannot see the index of")
    dim = call["dim"] % len(x.shape)
    full = [plane.expand(x.shape) for plane in x.planes]
    result = call.output([compact(plane.index_select(dim, index.cpu())) for plane in full])
    call.role(call.tensor("index"), 0, "index")
    call.unite(call.vector(result, dim), call.vector(call.tensor("index"), 0))
    return result


def listed_index(call: Call, kept: Kept) -> Mapping[str, Any]:
    """The index of what is kept, counted in what is kept."""
    index = call.constant("index")
    keep, left = kept.dim(call.tensor("self"), call["dim"]), kept.dim(call.result, call["dim"])
    if index is None or keep.all():
        return {}
    place = np.cumsum(keep) - 1
    return {"index": torch.from_numpy(place[index.cpu().numpy()[left]]).to(index.device)}


def take_indexed(call: Call) -> Any:
    """x[:, index]: what is picked by an index that is data stays; the other dims pass."""
    x, given = call.tensor("self"), call.meta["indices"]
    if any(index is not None and index.dtype == torch.bool for index in given):
        return call.protect("what is kept depends on the data in")
    picked = {dim for dim, index in enumerate(given) if index is not None}
    indices = [None if index is None else torch.zeros(index.shape, dtype=torch.int64) for index in given]
    runs = [torch.ops.aten.index(plane.expand(x.shape), indices) for plane in _passing(call, x, picked)]
    return call.output([compact(run) for run in runs])


def along_image(argument: str) -> Callable[[Call], Any]:
    """For an operator that moves values along dims: these stay whole, others pass."""

    def label(call: Call) -> Any:
        x, dims = call.tensor("self"), call[argument]
        moved = {dim % len(x.shape) for dim in ([dims] if isinstance(dims, int) else dims)}
        return call.output([call.run("self", plane) for plane in _passing(call, x, moved)])

    return label


def patches(call: Call) -> Any:
    """im2col: (N, C, H, W) to (N, C k k, L): each channel becomes k k neighbouring ones."""
    channels = call.vector(call.tensor("self"), 1)
    if channels is None:
        return call.output()
    return call.output([along(channels.repeat_interleave(call.shape[1] // len(channels)), 1, len(call.shape))])


def _passing(call: Call, x: Labelled, dims: set[int]) -> list[Tensor]:
    """The planes that do not vary along `dims`; those that do stay."""
    passing = []
    for plane in x.planes:
        if set(support(plane)) <= dims:
            call.pin(plane, "its position is data")
        else:
            passing.append(call.labels.couple(plane, sorted(dims)))
    return passing


def take_one(call: Call) -> Any:
    """select: a channel that is read alone must stay; a slice of several loses the same channels as the others."""
    x = call.tensor("self")
    dim = call["dim"] % len(x.shape)
    plane = x.plane(dim)
    if plane is not None and support(plane) == [dim]:
        call.pin(plane.narrow(dim, call["index"] % x.shape[dim], 1), "it is read alone")
    elif plane is not None:
        call.labels.couple(plane, [dim])
    return layout(call)


def select_index(call: Call, kept: Kept) -> Mapping[str, Any]:
    """The index is counted in what is kept before it."""
    keep = kept.dim(call.tensor("self"), call["dim"])
    return {"index": int(keep[: call["index"] % len(keep)].sum())}


def take_each(call: Call) -> Any:
    """unbind: as select, for every index."""
    x = call.tensor("self")
    dim = call["dim"] % len(x.shape)
    plane = x.plane(dim)
    if plane is not None and support(plane) == [dim]:
        call.pin(plane, "each is read alone")
    elif plane is not None:
        call.labels.couple(plane, [dim])
    return layout(call)


def split_sizes(call: Call, kept: Kept) -> Mapping[str, Any]:
    """Each part keeps what is kept of it."""
    return {"split_sizes": [kept.shape(part)[call["dim"]] for part in call.result]}
