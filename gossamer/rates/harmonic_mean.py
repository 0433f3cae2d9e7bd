# SPDX-License-Identifier: Apache-2.0
"""Harmonic mean: of the networks that a search went through, the one that is both much pruned and good.

Paper: Y. Wei, Y. Chen (AMAS), Circuits, Systems, and Signal Processing 40, 2021, 4127-4143,
doi 10.1007/s00034-021-01668-y.

    P, A: pruned channels and accuracy, of the points that none dominates, each scaled to [0, 1] over them
    choose the largest 2 P A / (P + A)        or w P + (1 - w) A, or the most pruned that loses at most `allowed`

Cost: nothing beside the evaluation of each network that is chosen from.

Differs from the paper: reconstructed from its abstract, which has two opposing indicators, the number of pruned
channels and the accuracy; how they meet in one choice is our reading, with two others as options.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEANS = ("harmonic", "weighted", "constrained")


@dataclass(frozen=True)
class HarmonicMean:
    """`weight`: of pruning in the weighted mean; `allowed`: the accuracy that may be lost, a fraction."""

    mean: str = "harmonic"
    weight: float = 0.5
    allowed: float = 0.01
    needs = "pairs"

    def __post_init__(self) -> None:
        if self.mean not in MEANS:
            raise ValueError(f"mean of harmonic-mean must be one of {', '.join(MEANS)}, got '{self.mean}'")

    def choose(self, pruned: Sequence[float], quality: Sequence[float], original: float | None = None) -> int:
        """The place of the chosen pair; a loss is counted from `original`, or from the best of the pairs.

        Where every pair loses more than is allowed, the best one is chosen.

        >>> HarmonicMean().choose([0, 40, 50, 60], [0.93, 0.92, 0.90, 0.10])
        2
        """
        if not len(pruned) or len(pruned) != len(quality):
            raise ValueError(f"expected as many qualities as counts, at least one, got {len(quality)}, {len(pruned)}")
        p, a = np.asarray(pruned, np.float64), np.asarray(quality, np.float64)
        if self.mean == "constrained":
            within = a >= (a.max() if original is None else original) - self.allowed
            return int(np.lexsort((a, p, within))[-1]) if within.any() else int(np.argmax(a))
        dominated = (p[None] >= p[:, None]) & (a[None] >= a[:, None])
        dominated &= (p[None] > p[:, None]) | (a[None] > a[:, None])
        places = np.flatnonzero(~dominated.any(axis=1))
        P, A = (_scaled(values[places]) for values in (p, a))
        if self.mean == "weighted":
            worth = self.weight * P + (1 - self.weight) * A
        else:
            worth = 2 * P * A / np.maximum(P + A, 1e-30)
        return int(places[np.lexsort((P, worth))[-1]])  # of two pairs each is worth nothing: the more pruned one


def _scaled(values: NDArray[np.floating]) -> NDArray[np.floating]:
    span = np.ptp(values)
    return (values - values.min()) / span if span else np.ones_like(values)
