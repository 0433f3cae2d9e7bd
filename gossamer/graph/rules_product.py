# SPDX-License-Identifier: Apache-2.0
"""Rules for products of activations with activations: matrix products and attention.

In attention channels are laid out as (heads, d), and both are channels: the choice `heads` says which can go. Narrow:
the same positions of every head, so that d shrinks. Whole: all d of a head at once, so that there are fewer heads,
each of which computes what it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gossamer.graph.calls import Call, Kept
from gossamer.graph.labels import Labelled, along, support
from gossamer.graph.rules_elementwise import meet


def matrix_product(call: Call) -> Any:
    """matmul, bmm: (..., M, K) times (..., K, N); leading dims meet as in an elementwise operator."""
    (name, left), (_, right) = ((name, _heads(call, x)) for name, x in call.operands.items())
    if min(len(left.shape), len(right.shape)) < 2:
        return call.protect("Gossamer has no rule for a vector in")
    rows, columns = call.vector(left, -2), call.vector(right, -1)
    call.unite(call.vector(left, -1), call.vector(right, -2))
    call.contracted.append((name, len(left.shape) - 1))
    return _product(call, [left, right], rows, columns)


def attention(call: Call) -> Any:
    """softmax(query key^T scale + mask) value: query and key share d, the output has the d of the value."""
    if call["enable_gqa"]:
        return call.protect("Gossamer has no rule for grouped queries in")
    query, key, value = (_heads(call, call.tensor(name)) for name in ("query", "key", "value"))
    call.unite(call.vector(query, -1), call.vector(key, -1))
    call.contracted.append(("query", len(query.shape) - 1))
    operands = [query, key, value]
    tokens = [call.vector(key, -2), call.vector(value, -2)]
    if call["attn_mask"] is not None:
        mask = call.tensor("attn_mask")
        operands.append(mask)
        tokens += [call.vector(mask, -2), call.vector(mask, -1)]
    for labels in tokens:
        call.pin(labels, "attention sums over it")
    return _product(call, operands, call.vector(query, -2), call.vector(value, -1))


def frozen_scale(call: Call, kept: Kept) -> Mapping[str, Any]:
    """The usual scale, 1 / sqrt(d), stays that of the original d."""
    query = call.tensor("query")
    if call["scale"] is not None or kept.shape(query)[-1] == query.shape[-1]:
        return {}
    return {"scale": query.shape[-1] ** -0.5}


def _heads(call: Call, x: Labelled) -> Labelled:
    """With whole heads, channels that a plane lays out as (heads, d) go head by head."""
    if call.space.choices.heads != "whole":
        return x
    inside = {len(x.shape) - 2, len(x.shape) - 1}
    return x.with_planes(
        [call.labels.couple(plane, sorted(inside)) if set(support(plane)) - inside else plane for plane in x.planes]
    )


def _product(call: Call, operands: Sequence[Labelled], rows: Any, columns: Any) -> Labelled:
    """The result: leading dims of all operands, rows of the first, columns of the last."""
    rank = len(call.shape)
    leading = [
        Labelled((*x.shape[:-2], 1, 1), tuple(plane for plane in x.planes if plane.shape[-2:] == (1, 1)))
        for x in operands
    ]
    ends = [along(v, dim, rank) for v, dim in ((rows, rank - 2), (columns, rank - 1)) if v is not None]
    return call.output([*meet(call, leading, rank), *ends])
