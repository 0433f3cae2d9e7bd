# SPDX-License-Identifier: Apache-2.0
"""Rates meet budgets, and respect multiples and floors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gossamer.rates import METHODS, Energy, Global, Uniform, counts_within

RNG = np.random.default_rng(0)
#: The cheap layer is the most even one: what has the largest entropy stays whole.
FILTERS = {"a": 9 * RNG.random((64, 27)), "b": RNG.standard_t(3, (32, 9)), "c": RNG.standard_t(2, (16, 18))}
SCORES = {"a": RNG.random(64), "b": 2 * RNG.random(32), "c": RNG.random(16)}
MACS = {"a": 10, "b": 100, "c": 1000}
WITH_A_DIAL = {name: rule() for name, rule in METHODS.items() if hasattr(rule, "counts")}


def facts(rule):
    return {"scores": SCORES, "filters": FILTERS}[rule.needs]


def cost(counts):
    return sum(MACS[name] * count for name, count in counts.items())


@pytest.mark.parametrize("rule", WITH_A_DIAL.values(), ids=WITH_A_DIAL.keys())
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_budget_is_met_and_used(rule, share):
    budget = share * cost({name: score.size for name, score in SCORES.items()})
    counts = counts_within(rule, facts(rule), cost, budget)
    assert cost(counts) <= budget
    assert cost(counts) > budget - 1.2 * max(MACS.values()) - 200, "bisection stops far below the budget"


@pytest.mark.parametrize("rule", WITH_A_DIAL.values(), ids=WITH_A_DIAL.keys())
def test_the_dial_goes_from_one_channel_or_a_floor_to_all_and_never_back(rule):
    found = [rule.counts(facts(rule), share) for share in np.linspace(0, 1, 21)]
    assert found[-1] == {name: score.size for name, score in SCORES.items()}
    for fewer, more in itertools.pairwise(found):
        assert all(1 <= fewer[name] <= more[name] for name in SCORES)
    assert cost(found[0]) < 0.5 * cost(found[-1])


@pytest.mark.parametrize("rule", WITH_A_DIAL.values(), ids=WITH_A_DIAL.keys())
def test_nothing_to_cut_is_nothing_cut(rule):
    assert rule.counts({}, 0.5) == {}


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


def test_energy_of_a_group_without_any_keeps_one():
    assert Energy().counts({"dead": np.zeros(4), "alive": np.ones(4)}, 0.5) == {"dead": 1, "alive": 2}
