# SPDX-License-Identifier: Apache-2.0
"""Quality factor: a threshold of its own for each layer, so many standard deviations of its weights.

Paper: S. Han, J. Pool, J. Tran, W. Dally, "Learning both Weights and Connections for Efficient Neural Networks",
NeurIPS 2015, arXiv 1506.02626, section 3: the threshold of a layer is a quality factor times the standard deviation
of its weights.

    keep w of layer l  where  |w| >= q_l std(W_l)

Cost: a pass over the weights; a sort where the sparsity is given.

Differs from the paper:
1. The quality factors were found by hand, layer by layer. Here one q serves all layers but the first, which gets
   `first` times it, because pruning hurts most there (section 4.1, figure 6).
2. `keep` is given a sparsity, and q follows; `above` is the paper's rule with q given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.weights.largest import FloatArray, keep_largest


@dataclass(frozen=True)
class QualityFactor:
    """Zero the weights of small magnitude, compared with the standard deviation of their layer.

    >>> weights = {"conv": np.array([1.0, -2.0, 3.0, -4.0]), "fc": np.array([10.0, -20.0, 30.0, -40.0])}
    >>> {name: keep.tolist() for name, keep in QualityFactor(first=0.5).keep(weights, 0.5).items()}
    {'conv': [False, True, True, True], 'fc': [False, False, False, True]}
    >>> {name: keep.tolist() for name, keep in QualityFactor(first=1.0).above(weights, 1.0).items()}
    {'conv': [False, False, True, True], 'fc': [False, False, True, True]}
    """

    first: float = 0.5

    needs = "weights"

    def __post_init__(self) -> None:
        if not 0 < self.first <= 1:
            raise ValueError(f"first must be in (0, 1], got {self.first}; 1 treats the first layer as all others")

    def above(self, weights: Mapping[str, FloatArray], q: float) -> dict[str, NDArray[np.bool_]]:
        """Weights of any shape by name, in forward order -> what stays at quality factor q, of the same shapes."""
        return {name: score >= q for name, score in self._scores(weights).items()}

    def keep(self, weights: Mapping[str, FloatArray], sparsity: float) -> dict[str, NDArray[np.bool_]]:
        """Weights of any shape by name, in forward order -> what stays; exactly round(sparsity * size) go.

        Ties go by position, so the answer is the same every time.
        """
        return keep_largest(self._scores(weights), sparsity)

    def _scores(self, weights: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Magnitudes in units of the threshold at q = 1."""
        scores: dict[str, FloatArray] = {}
        for index, (name, value) in enumerate(weights.items()):
            spread = float(np.std(value, dtype=np.float64)) or 1.0
            scores[name] = np.abs(value) / (spread * (1.0 if index else self.first))
        return scores
