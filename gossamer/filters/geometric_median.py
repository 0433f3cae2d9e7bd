# SPDX-License-Identifier: Apache-2.0
"""Geometric median: a filter that the others can stand in for matters little, however large it is.

Paper: Y. He, P. Liu, Z. Wang, Z. Hu, Y. Yang, "Filter Pruning via Geometric Median for Deep Convolutional Neural
Networks Acceleration", CVPR 2019, arXiv 1811.00250, section 3.3, equations 6 to 8. Score of filter i:

    s_i = sum_j ||W_i - W_j||_2

The filters with the smallest sums lie nearest to the point from which the sum of distances is smallest.

Cost: a pass over the weights, K^2 distances for a layer of K filters.

Differs from the paper:
1. Filters that a residual sum ties together are scored together, as for the L1 norm, depthwise filters with them.
2. Filters go once and for all; the paper zeroes them after each epoch and lets them grow again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gossamer.filters.matrices import FloatArray, GroupMatrices, mean_of_tied


@dataclass(frozen=True)
class GeometricMedian:
    """Score channels by how far the weights that produce them are from those of all others."""

    needs = "weights"

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept, mean 1."""
        return mean_of_tied((_distances(rows).sum(axis=1) for rows in group.rows), group.size)


def _distances(rows: FloatArray) -> FloatArray:
    """(K, features) -> (K, K), Euclidean."""
    rows = np.asarray(rows, np.float64)
    products = rows @ rows.T
    squares = np.diag(products)
    distances: FloatArray = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0))
    return distances
