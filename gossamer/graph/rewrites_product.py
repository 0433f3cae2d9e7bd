# SPDX-License-Identifier: Apache-2.0
"""Rewrite of einsum: a product of two tensors written with letters becomes permutes and a matmul, which has a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import fx

aten = torch.ops.aten


class Orders(NamedTuple):
    """Orders of dims: of the left operand before the matmul, of the right one, and of the result after it."""

    left: list[int]
    right: list[int]
    result: list[int]


def einsum_as_matmul(node: fx.Node) -> None:
    """Rewrite in place where the letters allow it; leave anything else as it is."""
    if node.target is not aten.einsum.default:
        return
    equation, operands = cast("tuple[str, Sequence[fx.Node]]", node.args[:2])
    orders = matmul_orders(equation) if len(operands) == 2 else None
    if orders is None:
        return
    with node.graph.inserting_before(node):
        left, right = (_add(node, aten.permute.default, x, o) for x, o in zip(operands, orders[:2], strict=True))
        product = _add(node, aten.matmul.default, left, right)
    node.target, node.args, node.kwargs = aten.permute.default, (product, orders.result), {}


def matmul_orders(equation: str) -> Orders | None:
    """The orders that make an einsum a matmul; None where it is not one.

    >>> matmul_orders("bhid,bhjd->bhij")
    Orders(left=[0, 1, 2, 3], right=[0, 1, 3, 2], result=[0, 1, 2, 3])
    >>> matmul_orders("bii->bi") is None
    True
    """
    terms, arrow, result = equation.replace(" ", "").partition("->")
    parts = [*terms.split(","), result]
    if len(parts) != 3 or not arrow or "." in equation or any(len(set(part)) < len(part) for part in parts):
        return None
    left, right, result = parts
    batch = [letter for letter in result if letter in left and letter in right]
    summed = [letter for letter in left if letter in right and letter not in result]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]
    if not len(rows) == len(columns) == len(summed) == 1 or not {*rows, *columns} <= set(result):
        return None
    product = [*batch, *rows, *columns]
    return Orders(
        [left.index(letter) for letter in [*batch, *rows, *summed]],
        [right.index(letter) for letter in [*batch, *summed, *columns]],
        [product.index(letter) for letter in result],
    )


def _add(node: fx.Node, target: Any, *arguments: Any) -> fx.Node:
    """A new operator before `node`, from the same line of the user's code."""
    made = node.graph.call_function(target, arguments)
    made.meta = dict(node.meta)
    made.meta["val"] = target(*fx.map_arg(arguments, lambda given: given.meta["val"]))
    return made
