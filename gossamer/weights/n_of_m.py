# SPDX-License-Identifier: Apache-2.0
"""N of M: of every M weights beside each other at most N stay, a pattern that some processors are made for.

Paper: A. Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021, arXiv 2104.08378, section 2: of every four
weights along the inputs the two of largest magnitude stay.

    of each block w_1 ... w_M    keep the N largest |w_i|        N = M - int(sparsity M)

Cost: a sort in each block.

Differs from the paper:
1. Any N, from the sparsity: where it is no multiple of 1 / M some blocks lose one weight more than others, those in
   which it is smallest, relative to its layer.
2. The weights of a filter lie in the order of channels-last memory, inputs fastest; what the last whole block leaves
   over is pruned without a pattern.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.weights.largest import FloatArray


@dataclass(frozen=True)
class NOfM:
    """Blocks of `m` weights along the inputs of a filter; 1.0 - n / m of them is the sparsity of the pattern.

    >>> keep = NOfM().keep({"fc": np.array([[1.0, -4.0, 3.0, -2.0, 5.0, 6.0, 0.0, 7.0]])}, 0.5)
    >>> keep["fc"].astype(int).tolist()
    [[0, 1, 1, 0, 0, 1, 0, 1]]
    """

    m: int = 4

    needs = "weights"

    def __post_init__(self) -> None:
        if self.m < 2:
            raise ValueError(f"m of n-of-m must be at least 2, got {self.m}")

    def keep(self, weights: Mapping[str, FloatArray], sparsity: float) -> dict[str, NDArray[np.bool_]]:
        """Weights (filters, inputs, ...) by name -> what stays, of the same shapes; exactly round(sparsity * size) go.

        Ties go by position, so the answer is the same every time.
        """
        if not 0.0 <= sparsity < 1.0:
            raise ValueError(f"sparsity must be in [0, 1), got {sparsity}")
        if not weights:
            return {}
        found = [self._ranked(value) for value in weights.values()]
        rank, size = (np.concatenate(parts) for parts in zip(*found, strict=True))
        goes = np.zeros(rank.size, np.bool_)
        over = np.flatnonzero(rank < 0)
        goes[over[np.argsort(size[over], kind="stable")][: int(sparsity * over.size)]] = True
        whole = np.flatnonzero(rank >= 0)
        by_block = np.lexsort((size[whole], np.maximum(rank[whole], int(sparsity * self.m) - 1)))
        goes[whole[by_block][: round(sparsity * rank.size) - int(goes.sum())]] = True
        parts = np.split(~goes, np.cumsum([value.size for value in weights.values()])[:-1])
        return {
            name: np.moveaxis(part.reshape(np.moveaxis(value, 1, -1).shape), -1, 1)
            for (name, value), part in zip(weights.items(), parts, strict=True)
        }

    def _ranked(self, weight: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
        """Of each weight, inputs last: its rank in its block, the smallest 0, and its size relative to its layer's.

        The rank is -1 in the smaller block at the end of a filter.
        """
        rows = np.abs(np.moveaxis(weight, 1, -1).reshape(len(weight), -1))
        rank = np.full(rows.shape, -1)
        for first in range(0, rows.shape[1] - self.m + 1, self.m):
            block = rows[:, first : first + self.m]
            rank[:, first : first + self.m] = block.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        spread = float(np.sqrt(np.mean(np.square(rows, dtype=np.float64)))) or 1.0
        return rank.ravel(), (rows / spread).ravel()
