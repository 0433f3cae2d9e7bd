# SPDX-License-Identifier: Apache-2.0
"""Entropy of a layer: how evenly its weights spread over their range.

Source: F. Meng, H. Cheng, K. Li, Z. Xu, R. Ji, X. Sun, G. Lu, "Filter Grafting for Deep Neural Networks", CVPR 2020,
arXiv 2001.05868, section 4.2, with the bins of its published code:

    H(W) = - sum_k p_k ln p_k        p_k: the share of weights in bin k of 10 equal ones between min and max

The last bin, like the others, does not hold its upper end: the largest weight is in none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 10


def entropy(weights: NDArray[np.floating], bins: int = BINS) -> float:
    """Nats, in [0, ln bins]; 0 where all weights are the same."""
    values = np.asarray(weights, np.float64).ravel()
    low, high = values.min(), values.max()
    if not high > low:
        return 0.0
    places = np.minimum(np.floor((values - low) / ((high - low) / bins)), bins)
    places[values < high] = np.minimum(places[values < high], bins - 1)  # where division rounded up
    shares = np.bincount(places.astype(np.intp), minlength=bins + 1)[:bins] / len(values)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
