# SPDX-License-Identifier: Apache-2.0
"""Rates meet budgets, and respect multiples and floors."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.rates import METHODS, Global, Uniform, counts_within

RNG = np.random.default_rng(0)
SCORES = {"a": RNG.random(64), "b": 2 * RNG.random(32), "c": RNG.random(16)}
MACS = {"a": 10, "b": 100, "c": 1000}


def cost(counts):
    return sum(MACS[name] * count for name, count in counts.items())


@pytest.mark.parametrize("rule", [method() for method in METHODS.values()], ids=METHODS.keys())
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_budget_is_met_and_used(rule, share):
    budget = share * cost({name: score.size for name, score in SCORES.items()})
    counts = counts_within(rule, SCORES, cost, budget)
    assert cost(counts) <= budget
    assert cost(counts) > budget - 1.2 * max(MACS.values()) - 200, "bisection stops far below the budget"


def test_counts_are_multiples_where_asked():
    counts = counts_within(Uniform(), SCORES, cost, 9000, {"a": 8, "b": 8, "c": 8})
    assert all(count % 8 == 0 for count in counts.values())
    assert cost(counts) <= 9000


def test_an_impossible_budget_gives_the_smallest_network():
    assert counts_within(Uniform(), SCORES, cost, 0) == {"a": 1, "b": 1, "c": 1}


def test_global_takes_from_the_weak_group_and_keeps_a_floor():
    weak = {"weak": np.full(8, 0.1), "strong": np.full(8, 1.0)}
    assert Global(floor=0.25).counts(weak, 0.5) == {"weak": 2, "strong": 8}
    assert Global(floor=0.25, scaled=True).counts(weak, 1.0) == {"weak": 8, "strong": 8}
