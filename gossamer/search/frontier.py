# SPDX-License-Identifier: Apache-2.0
"""Frontier: how many channels each group keeps, so that a network of a given cost loses as little as possible.

    minimise  sum_g loss_g(k_g) + lambda * cost(k)        for one lambda: a point on the frontier

Losses add up over groups (`sensitivity`); the cost may be any function of all counts together: multiply-adds, coded
bytes (`Widths.in_bytes`), milliseconds from a table. One group after the other takes its best count while the others
stand still, until nothing changes. Where groups do not meet in one layer (the insides of residual blocks) that is the
exact minimum; where they do (a chain), a point that no single group can better. Lambda is bisected until the cost is
within the budget, and what the budget leaves over is spent on the group that gains most by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Counts = dict[str, int]
Cost = Callable[[Mapping[str, int]], float]
Loss = Callable[[str, int], float]

SWEEPS = 12
BISECTIONS = 24


def allocate(options: Mapping[str, Sequence[int]], loss: Loss, cost: Cost, budget: float) -> Counts | None:
    """Counts by group with the least loss found whose cost is within `budget`; None where no counts are.

    `options`: per group the counts it may keep, ascending, the whole group last.
    """
    whole = {name: counts[-1] for name, counts in options.items()}
    if cost(whole) <= budget:
        return whole
    # prices at which a nat is worth as much as the whole cost, and far beyond it
    unit = (sum(loss(name, counts[0]) for name, counts in options.items()) or 1.0) / cost(whole)
    low, high = 0.0, unit
    found = at_price(options, loss, cost, high)
    for _ in range(BISECTIONS):
        if cost(found) <= budget:
            break
        low, high = high, 4 * high
        found = at_price(options, loss, cost, high)
    else:
        found = {name: counts[0] for name, counts in options.items()}
        return _spent(found, options, loss, cost, budget) if cost(found) <= budget else None
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        counts = at_price(options, loss, cost, middle)
        if cost(counts) <= budget:
            high, found = middle, counts
        else:
            low = middle
    return _spent(found, options, loss, cost, budget)


def at_price(options: Mapping[str, Sequence[int]], loss: Loss, cost: Cost, price: float) -> Counts:
    """The counts that one price of cost leads to, group by group, from the whole network down."""
    counts = {name: choices[-1] for name, choices in options.items()}
    for _ in range(SWEEPS):
        before = dict(counts)
        for name, choices in options.items():
            counts[name] = min(
                choices, key=lambda count: (loss(name, count) + price * cost(counts | {name: count}), -count)
            )
        if counts == before:
            break
    return counts


def _spent(counts: Counts, options: Mapping[str, Sequence[int]], loss: Loss, cost: Cost, budget: float) -> Counts:
    """What the budget leaves over, spent on one group after the other, the best bargain first."""
    counts, now = dict(counts), cost(counts)
    while True:
        bargains = []
        for name, choices in options.items():
            for count in choices:
                gain = loss(name, counts[name]) - loss(name, count)
                if count > counts[name] and gain > 0 and (then := cost(counts | {name: count})) <= budget:
                    bargains.append((gain / max(then - now, 1e-12 * budget), name, count))
        if not bargains:
            return counts
        _, name, count = max(bargains)
        counts[name] = count
        now = cost(counts)
