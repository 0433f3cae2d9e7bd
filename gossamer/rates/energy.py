# SPDX-License-Identifier: Apache-2.0
"""Energy: in each layer the weakest filters go that together hold at most a given share of its score.

Paper: S. S. Sawant et al., Applied Sciences 12(21), 2022, 11184, states an error tolerance in place of a rate.

    keep the fewest filters with    sum of their s_i >= share * sum of all s_i

Cost: one sort of the scores of each group.

Differs from the paper: this is the other reading of its tolerance, as a share of the layer's importance, which needs no
evaluation; `error_tolerance` is the one that asks the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.rates.budget import Facts


@dataclass(frozen=True)
class Energy:
    """Layers whose filters are much alike lose few, those that few filters dominate lose many.

    >>> Energy().counts({"alike": np.array([1.0, 1, 1, 1]), "unlike": np.array([8.0, 1, 1, 0])}, 0.8)
    {'alike': 4, 'unlike': 1}
    """

    needs = "scores"

    def counts(self, facts: Facts, share: float) -> dict[str, int]:
        """Scores per group (K,), not negative, and the share of each sum kept -> channels kept, at least one."""
        found = {}
        for name, scores in facts.items():
            held = np.cumsum(np.sort(scores)[::-1], dtype=np.float64)
            found[name] = len(scores) if share >= 1 else int(np.searchsorted(held, share * held[-1])) + 1
        return found
