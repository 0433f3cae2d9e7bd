# SPDX-License-Identifier: Apache-2.0
"""An einsum is a matmul between permutes, or is left alone."""

from __future__ import annotations

import pytest
import torch

from gossamer.graph.rewrites_product import matmul_orders

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 6}


@pytest.mark.parametrize(
    "equation",
    ["abcd,abed->abce", "abcd,abde->aceb", "ab,bc->ac", "ab,cb->ca", "a b c, d b a -> d c a", "abc,bad->bcd"],
)
def test_the_orders_compute_the_einsum(equation):
    left, right, _ = equation.replace(" ", "").replace("->", ",").split(",")
    x, y = (torch.randn([SIZES[letter] for letter in part], dtype=torch.float64) for part in (left, right))
    orders = matmul_orders(equation)
    assert orders is not None
    product = (x.permute(orders.left) @ y.permute(orders.right)).permute(orders.result)
    assert torch.allclose(product, torch.einsum(equation, x, y))


@pytest.mark.parametrize(
    "equation",
    ["ab,ab->ab", "abc,abc->a", "ab,cd->abcd", "aab,bc->ac", "a...,ab->b...", "ab,bc", "ab,bc,cd->ad", "ab,bc->c"],
)
def test_other_sums_are_left_alone(equation):
    assert matmul_orders(equation) is None
