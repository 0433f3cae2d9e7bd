# SPDX-License-Identifier: Apache-2.0
"""Largest: what stays when so large a share of all weights must go, by a score for each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


def keep_largest(scores: Mapping[str, FloatArray], sparsity: float) -> dict[str, NDArray[np.bool_]]:
    """Scores of any shape by name -> what stays, of the same shapes; exactly round(sparsity * size) of all go.

    Ties go by position, so the answer is the same every time. Raises ValueError for a sparsity outside [0, 1).
    """
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")
    if not scores:
        return {}
    every = np.concatenate([score.ravel() for score in scores.values()])
    keep = np.ones(every.size, np.bool_)
    keep[np.argsort(every, kind="stable")[: round(sparsity * every.size)]] = False
    parts = np.split(keep, np.cumsum([score.size for score in scores.values()])[:-1])
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
