# SPDX-License-Identifier: Apache-2.0
"""Budget: turn a rule's dial until the network costs what it may cost.

Counts are predicted, not cut: bisection asks a cost function of channel counts some forty times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Scores = Mapping[str, NDArray[np.floating]]


class Rule(Protocol):
    """How many channels each group keeps, given scores and one dial."""

    def counts(self, scores: Scores, share: float) -> dict[str, int]:
        """Channels kept per group when `share` of all are kept."""
        ...


def counts_within(
    rule: Rule,
    scores: Scores,
    cost: Callable[[Mapping[str, int]], float],
    budget: float,
    multiples: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The largest counts by `rule` whose `cost` is within `budget`; counts are multiples where `multiples` asks.

    Where even the smallest share costs more, the smallest counts come back: the caller compares costs.
    """

    def rounded(share: float) -> dict[str, int]:
        counts = rule.counts(scores, share)
        return {
            name: _round_up(count, scores[name].size, (multiples or {}).get(name, 1)) for name, count in counts.items()
        }

    low, high = 0.0, 1.0
    if cost(rounded(high)) <= budget:
        return rounded(high)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(rounded(middle)) <= budget else (low, middle)
    return rounded(low)


def _round_up(count: int, size: int, multiple: int) -> int:
    return min(size, -(-count // multiple) * multiple)
