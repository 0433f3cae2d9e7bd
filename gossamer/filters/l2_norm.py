# SPDX-License-Identifier: Apache-2.0
"""L2 norm: a filter with small weights matters little, and few large ones count more than many small ones.

Paper: Y. He, G. Kang, X. Dong, Y. Fu, Y. Yang, "Soft Filter Pruning for Accelerating Deep Convolutional Neural
Networks", IJCAI 2018, arXiv 1808.06866, section 3.2, equation 2 with p = 2. Score of filter i: s_i = ||W_i||_2.

Cost: a pass over the weights.

Differs from the paper:
1. Filters that a residual sum ties together are scored together, as for the L1 norm, depthwise filters with them.
2. Filters go once and for all; the paper zeroes them after each epoch and lets them grow again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.filters.matrices import FloatArray, GroupMatrices, mean_of_tied


@dataclass(frozen=True)
class L2Norm:
    """Score channels by the root of the summed squares of the weights that produce them."""

    needs = "weights"

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept, mean 1."""
        squares = (np.square(rows, dtype=np.float64).sum(axis=1) for rows in group.rows)
        return mean_of_tied(map(np.sqrt, squares), group.size)
