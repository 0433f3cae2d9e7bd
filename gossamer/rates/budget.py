# SPDX-License-Identifier: Apache-2.0
"""Budget: turn a rule's dial until the network costs what it may cost.

Counts are predicted, not cut: bisection asks a cost function of channel counts some forty times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Facts = Mapping[str, NDArray[np.floating]]
"""What a rule looks at, by group of K channels: by its `needs` their scores, (K,), or their filters, (K, features)."""


class Rule(Protocol):
    """How many channels each group keeps, given one dial, and what the rule `needs` to see: "scores" or "filters"."""

    needs: str

    def counts(self, facts: Facts, share: float) -> dict[str, int]:
        """Channels kept per group: all at `share` 1, and ever fewer below."""
        ...


def counts_within(
    rule: Rule,
    facts: Facts,
    cost: Callable[[Mapping[str, int]], float],
    budget: float,
    multiples: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The largest counts by `rule` whose `cost` is within `budget`; counts are multiples where `multiples` asks.

    Where even the smallest share costs more, the smallest counts come back: the caller compares costs.
    """

    def rounded(share: float) -> dict[str, int]:
        return counts_at(rule, facts, share, multiples)

    low, high = 0.0, 1.0
    if cost(rounded(high)) <= budget:
        return rounded(high)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(rounded(middle)) <= budget else (low, middle)
    return rounded(low)


def counts_at(rule: Rule, facts: Facts, share: float, multiples: Mapping[str, int] | None = None) -> dict[str, int]:
    """The counts by `rule` where its dial stands at `share`, multiples where `multiples` asks."""
    counts = rule.counts(facts, share)
    return {name: _round_up(count, len(facts[name]), (multiples or {}).get(name, 1)) for name, count in counts.items()}


def as_counts(rates: Mapping[str, float], facts: Facts) -> dict[str, int]:
    """Shares kept per group -> channels kept per group, at least one."""
    return {name: max(1, round(rate * len(facts[name]))) for name, rate in rates.items()}


def power(share: float) -> float:
    """A dial for rules that raise rates in (0, 1] to a power: 0 at share 1, 1 at a half, infinite at 0."""
    return (1 - share) / share if share > 0 else np.inf


def share_of(exponent: float) -> float:
    """Where `power` is so much.

    >>> power(share_of(1.0))
    1.0
    """
    return 1 / (1 + exponent)


def _round_up(count: int, size: int, multiple: int) -> int:
    return min(size, -(-count // multiple) * multiple)
