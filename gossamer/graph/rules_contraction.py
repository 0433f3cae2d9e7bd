# SPDX-License-Identifier: Apache-2.0
"""Rules for operators that sum over channels with weights: convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, fx

from gossamer.graph.calls import Call, Kept, SizeOf
from gossamer.graph.labels import Labelled, along

_INSIDE = "it lies inside the groups of a grouped convolution"


def convolution(call: Call) -> Labelled:
    """The weight is (C_out, C_in / groups, ...): input channels meet its columns, its rows become channels."""
    x, weight = call.tensor("input"), call.tensor("weight")
    passed = _window(call, x, weight)
    rows = call.vector(weight, 0)
    call.role(weight, 0, "row")
    _add_bias(call, rows)
    if call["groups"] == 1:
        call.contract("input", 1, call.vector(weight, 1))
        call.role(weight, 1, "column")
    else:
        _grouped(call, call.vector(x, 1), rows, call.vector(weight, 1))
    return call.output(passed if rows is None else [*passed, along(rows, 1, len(x.shape))])


def _grouped(call: Call, channels: Tensor | None, rows: Tensor | None, columns: Tensor | None) -> None:
    """Input (groups, c), output (groups, r).

    Where c = 1 (depthwise) a channel is a group and they go together. Otherwise every group keeps equally many of
    its inputs, and of its outputs, whichever they are. Where that cannot be (the weight is computed), whole groups
    go, or the same position of every group: whichever leaves more to choose from.
    """
    if channels is None or rows is None:
        call.unite(channels, rows)
        call.pin(columns, "it meets a tensor that stays whole")
        return
    channels, rows = channels.reshape(call["groups"], -1), rows.reshape(call["groups"], -1)
    if channels.shape[1] > 1 and call.ragged("weight", channels):
        call.labels.equal_counts(rows)
        call.contracted.append(("input", 1))
    elif channels.shape[0] >= channels.shape[1]:
        call.unite(call.labels.couple(channels, [1]), call.labels.couple(rows, [1]))
        call.pin(columns, _INSIDE)
    else:
        call.labels.couple(rows, [0])
        call.labels.couple(channels, [0])
        call.unite(channels[0], columns)
        call.role(call.tensor("weight"), 1, "column")
        call.contracted.append(("input", 1))


def transposed_convolution(call: Call) -> Labelled:
    """The weight is (C_in, C_out / groups, ...). A grouped one as `_grouped`, with rows and columns exchanged."""
    x, weight, groups = call.tensor("input"), call.tensor("weight"), call["groups"]
    passed = _window(call, x, weight)
    if groups == 1:
        rows = call.vector(weight, 1)
        call.role(weight, 1, "row")
        call.contract("input", 1, call.vector(weight, 0))
        call.role(weight, 0, "column")
    else:
        channels, rows = call.vector(x, 1), None
        call.unite(channels, call.vector(weight, 0))
        if channels is not None:
            rows = _grouped_outputs(call, channels.reshape(groups, -1), weight)
    _add_bias(call, rows)
    return call.output(passed if rows is None else [*passed, along(rows, 1, len(x.shape))])


def _grouped_outputs(call: Call, channels: Tensor, weight: Labelled) -> Tensor:
    """The output labels of a grouped transposed convolution of `channels` (groups, c)."""
    groups, outputs = len(channels), call.shape[1]
    if channels.shape[1] > 1 and outputs > groups:
        rows = call.labels.fresh(outputs).reshape(groups, -1)
        if call.ragged("weight", rows):
            call.labels.equal_counts(channels)
            call.role(weight, 0, "column")
            call.contracted.append(("input", 1))
            return rows.flatten()
    call.role(weight, 0, "row")
    call.pin(call.vector(weight, 1), _INSIDE)
    return call.labels.couple(channels, [1]).expand(groups, outputs // groups).flatten()


def conv_groups(call: Call, kept: Kept) -> Mapping[str, Any]:
    """Groups left = channels left / channels left in a group (dim 1 of the weight).

    Where each example has weights of its own, examples are groups too, and the number depends on the batch.
    """
    grouped = call.result if "transpose" in call.name else call.tensor("input")
    inside = kept.shape(call.tensor("weight"))[1]
    if inside == 0:  # the convolution is about to go with its branch
        return {}
    groups = kept.shape(grouped)[1] // inside
    if groups == call["groups"]:
        return {}
    return {"groups": SizeOf("input", 1, inside) if isinstance(call.written["groups"], fx.Node) else groups}


def linear(call: Call) -> Labelled:
    """x (..., I) times weight (O, I): the last dim is contracted, the others pass."""
    x, weight = call.tensor("input"), call.tensor("weight")
    rows = call.vector(weight, 0)
    call.role(weight, 0, "row")
    _add_bias(call, rows)
    call.contract("input", -1, call.vector(weight, 1))
    call.role(weight, 1, "column")
    passed = [plane for plane in x.planes if plane.shape[-1] == 1]
    return call.output(passed if rows is None else [*passed, along(rows, len(x.shape) - 1, len(x.shape))])


def _window(call: Call, x: Labelled, weight: Labelled) -> list[Tensor]:
    """A kernel slides over the last dims: these stay whole. Returns what passes: labels folded into the batch."""
    for tensor in (x, weight):
        for dim in range(2, len(tensor.shape)):
            call.pin(tensor.plane(dim), "a kernel slides over it")
    folded = x.plane(0)
    return [] if folded is None else [call.labels.couple(folded, range(1, len(x.shape)))]


def _add_bias(call: Call, rows: Tensor | None) -> None:
    if call["bias"] is not None:
        call.role(call["bias"], 0, "bias")
        call.unite(rows, call.vector(call["bias"], 0))
