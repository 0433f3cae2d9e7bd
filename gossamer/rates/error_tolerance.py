# SPDX-License-Identifier: Apache-2.0
"""Error tolerance: each layer loses as many filters as its share of the tolerated error allows.

Paper: S. S. Sawant et al., Applied Sciences 12(21), 2022, 11184.

    for each layer, the others as they are by then, weakest filters first:
        k = the most filters whose going raises the error by at most eps_l, found by bisection
    eps_l = (eps - what earlier layers used) / layers left

Told a budget, eps is the smallest with which it is met, to `STEPS` halvings of its logarithm.

Cost: log2 K evaluations for a group of K channels; some ten times as many where a budget is met.

Differs from the paper: reconstructed from its abstract, which states a predefined error tolerance in place of a rate.
1. The tolerance is per layer, with what a layer leaves carried on; a global cut empties narrow layers.
2. It holds before fine-tuning, where errors are cheap to ask; the network is accepted by its error after it.
3. Bisection takes for granted that more filters off never means a smaller error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.rates.budget import Facts

Keep = dict[str, NDArray[np.bool_]]
Error = Callable[[Mapping[str, NDArray[np.bool_]]], float]

STEPS = 8  # halvings of the tolerance's logarithm
ALL = 0.999  # the tolerance with which every group falls to its floor, about


@dataclass(frozen=True)
class ErrorTolerance:
    """`tolerance`: how much the error may rise, a fraction. No group falls below `floor`, a share of its channels.

    What a group that loses channels keeps is a multiple of `multiple`: runtimes compute channels in blocks.
    """

    tolerance: float = 0.01
    floor: float = 0.1
    multiple: int = 1
    needs = "error"

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance of error-tolerance must be in (0, 1), got {self.tolerance}; 0.01 is a point")
        if self.multiple < 1:
            raise ValueError(f"multiple of error-tolerance must be at least 1, got {self.multiple}")

    def keep(
        self,
        scores: Facts,
        error: Error,
        parts: Mapping[str, NDArray[np.intp]] | None = None,
    ) -> Keep:
        """What each group keeps, bool (K,), by scores (K,), groups in the order in which they are asked.

        `error`: of the network in which the groups keep what they are given, untuned. `parts`, (K,) each: every part of
        a group keeps equally many.
        """
        keep: Keep = {name: np.ones(len(values), np.bool_) for name, values in scores.items()}
        before = reference = error(keep)
        for asked, (name, values) in enumerate(scores.items()):
            allowed = before + (self.tolerance - (before - reference)) / (len(scores) - asked)
            part = (parts or {}).get(name, np.zeros(len(values), np.intp))
            weakest = np.lexsort((values, part)).reshape(int(part.max()) + 1, -1)  # of each part, the weakest first
            most = (len(values) - max(1, round(self.floor * len(values)))) // len(weakest)
            counts = [0] + [n for n in range(1, most + 1) if (len(values) - n * len(weakest)) % self.multiple == 0]

            def without(count: int, weakest: NDArray[np.intp] = weakest) -> NDArray[np.bool_]:
                row = np.ones(weakest.size, np.bool_)
                row[weakest[:, :count]] = False
                return row

            low, high = 0, len(counts)  # counts[low] of each part may go, counts[high] may not
            while high - low > 1:
                middle = (low + high) // 2
                found = error(keep | {name: without(counts[middle])})
                low, high = (middle, high) if found <= allowed else (low, middle)
                before = found if found <= allowed else before
            keep[name] = without(counts[low])
        return keep

    def keep_within(
        self,
        scores: Facts,
        error: Error,
        cost: Callable[[Mapping[str, int]], float],
        budget: float,
        parts: Mapping[str, NDArray[np.intp]] | None = None,
    ) -> Keep:
        """The same with the smallest tolerance, from this rule's on, whose counts have a `cost` within the budget.

        Where even all that may go leaves more, the least that can be left comes back: the caller compares costs.
        """
        known: dict[tuple[bytes, ...], float] = {}

        def remembered(keep: Mapping[str, NDArray[np.bool_]]) -> float:
            asked = tuple(keep[name].tobytes() for name in scores)
            if asked not in known:
                known[asked] = error(keep)
            return known[asked]

        def at(tolerance: float) -> tuple[Keep, bool]:
            keep = replace(self, tolerance=tolerance).keep(scores, remembered, parts)
            return keep, cost({name: int(row.sum()) for name, row in keep.items()}) <= budget

        low, high = self.tolerance, max(self.tolerance, ALL)
        keep, fits = at(low)
        if fits:
            return keep
        best, fits = at(high)
        for _ in range(STEPS if fits else 0):
            middle = float(np.sqrt(low * high))
            keep, fits = at(middle)
            low, high, best = (low, middle, keep) if fits else (middle, high, best)
        return best
