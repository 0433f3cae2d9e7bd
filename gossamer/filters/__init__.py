# SPDX-License-Identifier: Apache-2.0
"""Score the filters of a group: one criterion a file.

A criterion is a frozen dataclass with `score(group) -> (K,)`, higher is kept, and `needs`, what it must be given
beside the weights: "weights" (nothing), "changes", "learned", "asked", or two of these (`matrices.GroupMatrices`).
"""

from __future__ import annotations

from typing import Protocol

from gossamer.filters.at_random import AtRandom as AtRandom
from gossamer.filters.batch_norm_scale import BatchNormScale as BatchNormScale
from gossamer.filters.car import Car as Car
from gossamer.filters.geometric_median import GeometricMedian as GeometricMedian
from gossamer.filters.importance_weights import ImportanceWeights as ImportanceWeights
from gossamer.filters.l1_norm import L1Norm as L1Norm
from gossamer.filters.l2_norm import L2Norm as L2Norm
from gossamer.filters.matrices import Answers as Answers
from gossamer.filters.matrices import FloatArray
from gossamer.filters.matrices import GroupMatrices as GroupMatrices
from gossamer.filters.taylor import Taylor as Taylor


class Criterion(Protocol):
    """What every criterion can do."""

    @property
    def needs(self) -> str:
        """What it must be given."""
        ...

    def score(self, group: GroupMatrices) -> FloatArray:
        """Group of K channels -> (K,), higher is kept."""
        ...


METHODS = {
    "l1-norm": L1Norm,
    "l2-norm": L2Norm,
    "geometric-median": GeometricMedian,
    "batch-norm-scale": BatchNormScale,
    "taylor": Taylor,
    "importance-weights": ImportanceWeights,
    "car": Car,
    "at-random": AtRandom,
}
