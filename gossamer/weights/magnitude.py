# SPDX-License-Identifier: Apache-2.0
"""Magnitude: keep the largest weights.

Paper: S. Han, J. Pool, J. Tran, W. Dally, "Learning both Weights and Connections for Efficient Neural Networks",
NeurIPS 2015, arXiv 1506.02626, section 3: weights below a threshold are removed; the threshold of a layer is a
quality factor times the standard deviation of its weights.

    keep w of layer l  where  |w| >= t_l
    "layer"   t_l, the quantile of |W_l| at the sparsity
    "global"  t_l = t, that of |w| over all weights
    "scaled"  t_l = t rms(W_l), t that of |w| / rms(W_l) over all weights

Cost: a sort of the weights.

Differs from the paper:
1. The sparsity is given and the threshold follows; `scope` says over what the threshold is shared: each layer
   alone, all weights as they are, or all weights divided by their layer's root mean square ("scaled", nearly
   the paper's rule with one quality factor for all layers; quality_factor.py has the rule itself).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gossamer.weights.largest import FloatArray, keep_largest

SCOPES = ("layer", "global", "scaled")


@dataclass(frozen=True)
class Magnitude:
    """Zero the weights of smallest magnitude.

    >>> weights = {"a": np.array([1.0, -2.0, 3.0, -4.0]), "b": np.array([10.0, -20.0, 30.0, -40.0])}
    >>> {name: keep.tolist() for name, keep in Magnitude("global").keep(weights, 0.5).items()}
    {'a': [False, False, False, False], 'b': [True, True, True, True]}
    >>> {name: keep.tolist() for name, keep in Magnitude("scaled").keep(weights, 0.5).items()}
    {'a': [False, False, True, True], 'b': [False, False, True, True]}
    """

    scope: Literal["layer", "global", "scaled"] = "scaled"

    needs = "weights"

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise ValueError(f"scope of magnitude must be one of {', '.join(SCOPES)}, got '{self.scope}'")

    def keep(self, weights: Mapping[str, FloatArray], sparsity: float) -> dict[str, NDArray[np.bool_]]:
        """Weights of any shape by name -> what stays, of the same shapes; exactly round(sparsity * size) go.

        Ties go by position, so the answer is the same every time.
        """
        scores = {name: np.abs(value) for name, value in weights.items()}
        if self.scope == "layer":
            return {name: keep for name in scores for keep in keep_largest({name: scores[name]}, sparsity).values()}
        if self.scope == "scaled":
            scores = {name: score / (_root_mean_square(score) or 1.0) for name, score in scores.items()}
        return keep_largest(scores, sparsity)


def _root_mean_square(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
