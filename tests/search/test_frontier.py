# SPDX-License-Identifier: Apache-2.0
"""Allocation against brute force, and what a price may do."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.search.frontier import allocate, at_price


def _problem(seed: int, groups: int = 4):
    """Separable costs and convex losses, as inside residual blocks."""
    rng = np.random.default_rng(seed)
    options = {f"g{g}": [0, 4, 8, 12, 16] for g in range(groups)}
    slopes = {name: np.sort(rng.exponential(size=4))[::-1] for name in options}
    losses = {name: {c: float(slope[i:].sum()) for i, c in enumerate(options[name])} for name, slope in slopes.items()}
    prices = {name: float(rng.uniform(1, 5)) for name in options}
    return options, lambda n, c: losses[n][c], lambda counts: sum(prices[n] * c for n, c in counts.items())


def _best(options, loss, cost, budget):
    every = (dict(zip(options, counts, strict=True)) for counts in itertools.product(*options.values()))
    return min(sum(loss(n, c) for n, c in counts.items()) for counts in every if cost(counts) <= budget)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_is_within_the_budget_and_near_the_best(seed, share):
    options, loss, cost = _problem(seed)
    whole = {name: counts[-1] for name, counts in options.items()}
    found = allocate(options, loss, cost, share * cost(whole))
    assert cost(found) <= share * cost(whole)
    best = _best(options, loss, cost, share * cost(whole))
    steps = [loss(n, low) - loss(n, high) for n, counts in options.items() for low, high in itertools.pairwise(counts)]
    assert sum(loss(n, c) for n, c in found.items()) <= best + max(steps)  # what one price can miss at most


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.01, 2))
def test_one_price_is_exact_where_costs_add_up(seed, price):
    options, loss, cost = _problem(seed)
    found = at_price(options, loss, cost, price)
    every = (dict(zip(options, counts, strict=True)) for counts in itertools.product(*options.values()))

    def worth(counts):
        return sum(loss(n, c) for n, c in counts.items()) + price * cost(counts)

    assert worth(found) <= min(map(worth, every)) + 1e-9


def test_a_chain_cannot_be_bettered_by_one_group():
    """Costs are products of neighbours' counts."""
    options = {name: [2, 4, 6, 8] for name in "abc"}
    weight = {"a": 1.0, "b": 0.2, "c": 3.0}

    def loss(name, count):
        return weight[name] * (8 - count) ** 2

    def cost(counts):
        return 3 * counts["a"] + counts["a"] * counts["b"] + counts["b"] * counts["c"]

    price = 0.5
    found = at_price(options, loss, cost, price)

    def worth(counts):
        return sum(loss(n, c) for n, c in counts.items()) + price * cost(counts)

    assert all(worth(found) <= worth(found | {name: c}) for name in options for c in options[name])
    assert found["b"] < found["c"]  # what is worth little goes first


def test_the_whole_network_where_it_fits_and_nothing_where_nothing_does():
    options, loss, cost = _problem(1)
    whole = {name: counts[-1] for name, counts in options.items()}
    assert allocate(options, loss, cost, cost(whole)) == whole
    assert allocate({n: c[1:] for n, c in options.items()}, loss, cost, 0.5) is None
    assert allocate(options, loss, cost, 0.0) == dict.fromkeys(options, 0)
