# SPDX-License-Identifier: Apache-2.0
"""Weights on a grid and their bits: the loop and PyTorch's operators agree, whatever the weight's memory looks like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.coding.costs import costs
from gossamer.tuning import on_grid as module
from gossamer.tuning.on_grid import laid_out_as, on_grid

SHAPES = [(7, 5), (4, 3, 3, 3), (6, 1, 5, 5), (1, 4, 3, 3), (5, 4, 1, 1), (4, 2, 3, 2, 3)]
LAYOUTS = {"as it comes": lambda w: w, "channels last": lambda w: w.contiguous(memory_format=torch.channels_last)}
PARTS = ("scaled", "rounded", "bits", "coded", "to the weight", "to the step")


def made(shape, seed=0, coarseness=0.7):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal(shape).astype(np.float32) * rng.gamma(1.0, 1.0, (shape[0], *[1] * (len(shape) - 1)))
    weight[rng.random(shape) < 0.2] = 0
    if len(weight) > 2:
        weight[1] = 0.01  # a filter that becomes zeros
    factor = rng.uniform(0.5, 2.0, (shape[0], *[1] * (len(shape) - 1))).astype(np.float32)
    factor[:1] *= -1
    integers = np.rint(weight * factor / coarseness).astype(np.int32)
    return (torch.from_numpy(np.asarray(value, np.float32)) for value in (weight, factor, costs(integers)))


def parts(how, weight, factor, table, coarseness=0.7):
    """All that is computed, with gradients through a mixture of both results."""
    weight = weight.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    step = torch.tensor(float(np.log(coarseness)), requires_grad=True)
    found = how(weight, step, factor, table)
    mixture = torch.linspace(-1, 2, weight.numel()).reshape(weight.shape)
    ((found.rounded * mixture).sum() + 0.3 * found.bits).backward()
    values = (found.scaled, found.rounded, found.bits, found.coded, weight.grad, step.grad)
    return dict(zip(PARTS, (value.detach() for value in values), strict=True))


def by_operators(weight, step, factor, table):
    return module._by_operators(weight, step, factor, table, 0)


def in_one_loop(weight, step, factor, table):
    return module.OnGrid(*module._InOneLoop.apply(weight, step, factor, table))


def agree(loop, operators):
    assert torch.equal(loop["scaled"], operators["scaled"])
    for part in PARTS:
        scale = float(operators[part].abs().max()) + 1e-6
        assert float((loop[part] - operators[part]).abs().max()) < 2e-5 * scale, part


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_loop_gives_what_the_operators_give(shape, layout):
    if layout == "channels last" and len(shape) != 4:
        pytest.skip("for maps only")
    weight, factor, table = made(shape)
    weight = LAYOUTS[layout](weight)
    operators = parts(by_operators, weight, factor, table)
    agree(parts(in_one_loop, weight, factor, table), operators)
    agree(parts(in_one_loop, weight, factor, laid_out_as(table, weight)), operators)
    agree(parts(on_grid, weight, factor, table), operators)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), coarseness=st.floats(0.005, 30))
def test_on_grids_fine_and_coarse(seed, coarseness):
    weight, factor, table = made((5, 3, 3, 3), seed, coarseness)
    agree(*(parts(how, weight, factor, table, coarseness) for how in (in_one_loop, by_operators)))


def test_beyond_what_the_table_knows_bits_go_on_rising():
    weight, factor, table = made((5, 3, 3, 3))
    weight[0] *= 1000
    agree(*(parts(how, weight, factor, table) for how in (in_one_loop, by_operators)))


def test_one_factor_for_all_filters():
    weight, _, table = made((4, 3, 3, 3))
    one = torch.full((), 1.5)
    agree(*(parts(how, weight, one, table) for how in (in_one_loop, by_operators)))


@pytest.mark.parametrize("case", ["inputs first", "no table", "a part of a weight", "double", "no numba"])
def test_the_operators_do_it_where_the_loop_cannot(case, monkeypatch):
    def never(*arguments):
        raise AssertionError("the loop was asked")

    weight, factor, table = made((4, 3, 3, 3))
    sides = 0
    if case == "inputs first":
        sides, factor = 1, torch.linspace(0.5, 1, 3).reshape(1, 3, 1, 1)
    elif case == "no table":
        table = None
    elif case == "a part of a weight":
        weight, table = weight[:, ::2], table[:, :, ::2]
    elif case == "double":
        weight, factor = weight.double(), factor.double()
    else:
        monkeypatch.setattr(module, "_compiled", lambda: None)
    monkeypatch.setattr(module._InOneLoop, "apply", never)
    found = on_grid(weight, torch.zeros(()), factor, table, sides)
    assert torch.equal(found.rounded, torch.round(weight * factor) * (1 / factor))
    assert (found.bits is None) == (table is None)


def test_a_table_lies_as_its_weight_does_and_says_the_same():
    weight, _, table = made((4, 3, 5, 2))
    last = weight.contiguous(memory_format=torch.channels_last)
    laid = laid_out_as(table, last)
    assert torch.equal(laid, table)
    assert laid.permute(0, 1, 3, 4, 2).is_contiguous()
    assert laid_out_as(table, weight).is_contiguous()
