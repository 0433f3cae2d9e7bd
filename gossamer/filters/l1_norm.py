# SPDX-License-Identifier: Apache-2.0
"""L1 norm: a filter with small weights matters little.

Paper: H. Li, A. Kadav, I. Durdanovic, H. Samet, H. P. Graf, "Pruning Filters for Efficient ConvNets", ICLR 2017,
arXiv 1608.08710, section 3.1. Score of filter i: s_i = sum |W_i|.

Cost: a pass over the weights.

Differs from the paper:
1. Filters that a residual sum ties together are scored together: the mean, over the tied layers, of the score
   divided by its layer's mean. The paper takes the shortcut layer's filters alone.
2. A depthwise convolution on the same channels is one of these layers; the paper has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.filters.matrices import FloatArray, GroupMatrices, mean_of_tied


@dataclass(frozen=True)
class L1Norm:
    """Score channels by the sum of the absolute weights that produce them."""

    needs = "weights"

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept, mean 1."""
        return mean_of_tied((np.abs(rows).sum(axis=1, dtype=np.float64) for rows in group.rows), group.size)
