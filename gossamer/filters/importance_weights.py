# SPDX-License-Identifier: Apache-2.0
"""Importance weights: every filter gets one more weight, trained to say how much the filter counts.

Paper: S. S. Sawant et al., Applied Sciences 12(21), 2022, 11184.

    y_i = a_i (W_i * x + b_i)                a_i is trained (`gossamer.tuning.importance_weights`)
    s_i = |a_i|                              or, where W was trained too, |a_i| ||W_i||_1 / mean_j ||W_j||_1

Cost: a training in which the weights are learned.

Differs from the paper: reconstructed from its abstract, which names the weight, several ways to initialise it, and an
error tolerance in place of a rate.
1. The seven initialisations, and that those taken from data change nothing at first, are our reading.
2. The second score takes away what a and W can pass to each other without changing the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gossamer.filters.l1_norm import L1Norm
from gossamer.filters.l2_norm import L2Norm
from gossamer.filters.matrices import FloatArray, GroupMatrices, lacking, mean_of_tied

SMALLEST = 0.05  # of a start that the filter is divided by

Start = Callable[[GroupMatrices, np.random.Generator], FloatArray]


@dataclass(frozen=True)
class ImportanceWeights:
    """Score channels by their learned weights. `with_norm`: times the L1 norm of the filter, which was trained too."""

    with_norm: bool = True
    needs = "learned"

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept."""
        if group.learned is None:
            raise lacking("importance-weights", "learned weights", group)
        size: FloatArray = np.abs(np.asarray(group.learned, np.float64))
        return size * L1Norm().score(group) if self.with_norm else size


def _dissimilarity(group: GroupMatrices) -> FloatArray:
    """1 - mean cosine to the other filters."""

    def of(rows: FloatArray) -> FloatArray:
        unit = np.asarray(rows, np.float64) / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        cosines = unit @ unit.T
        mean: FloatArray = 1 - (cosines.sum(axis=1) - np.diag(cosines)) / max(1, group.size - 1)
        return mean

    return mean_of_tied(map(of, group.rows), group.size)


def _activity(group: GroupMatrices) -> FloatArray:
    if group.activity is None:
        raise lacking("the start 'activation'", "mean activations", group)
    return mean_of_tied([np.asarray(group.activity, np.float64)], group.size)


#: Where the weights start.
STARTS: dict[str, Start] = {
    "ones": lambda group, rng: np.ones(group.size),
    "uniform": lambda group, rng: rng.uniform(0, 1, group.size),
    "normal": lambda group, rng: rng.normal(1, 0.1, group.size),
    "l1": lambda group, rng: L1Norm().score(group),
    "l2": lambda group, rng: L2Norm().score(group),
    "dissimilarity": lambda group, rng: _dissimilarity(group),
    "activation": lambda group, rng: _activity(group),
}
FROM_DATA = ("l1", "l2", "dissimilarity", "activation")  # these say something of the filters; their mean is 1


def start(name: str, group: GroupMatrices, rng: np.random.Generator) -> FloatArray:
    """First values of a group's weights, (K,), float32; one of those `FROM_DATA` can be divided by.

    ValueError for an unknown name.
    """
    if name not in STARTS:
        raise ValueError(f"start of importance weights must be one of {', '.join(STARTS)}, got '{name}'")
    values = STARTS[name](group, rng)
    return np.asarray(np.maximum(values, SMALLEST) if name in FROM_DATA else values, np.float32)
