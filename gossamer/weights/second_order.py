# SPDX-License-Identifier: Apache-2.0
"""Second order: zero the weights that a layer's output misses least, and let the others make good what is missed.

Papers: B. Hassibi, D. Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon", NIPS 1992; for one
layer's output and whole matrices E. Frantar, D. Alistarh, "SparseGPT: Massive Language Models Can Be Accurately Pruned
in One-Shot", ICML 2023, arXiv 2301.00774, section 3. With H = mean x x^T of what enters the matrix W (R, C), damped,
and H^-1 = U^T U, U upper triangular, column after column j, the later ones making good what is missed:

    error of zeroing w_rj    (w_rj / U_jj)^2
    where it goes            w_r,j: -= w_rj / U_jj  U_j,j:

Within a block of columns the least errors go, as many as the block's share says.

Cost: a pass of some hundred images, then C^3 + R C^2 multiply-adds for a matrix (R, C); no training.

Differs from the papers:
1. How many go of each block is decided by w_rj^2 / [H^-1]_jj as the matrix stands, with one threshold for a layer or,
   `scope="scaled"`, for all, relative to all that the layer puts out, squared. In SparseGPT all blocks have one share.
2. Layers with groups have one H a group.
3. Blocks of 4 columns instead of 128: on matrices of 9 to 600 columns the error was least with 2 to 16.
4. Columns that go after j forget what they made good for it. Where a matrix is small enough, what is left is therefore
   fitted once more, W' = argmin (W' - W) H (W' - W)^T with the zeros given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.weights.largest import FloatArray, keep_largest

FloatArrays = Mapping[str, FloatArray]
MOST_WORK = 3e10  # multiply-adds of a fit: 64 rows of 576 columns take 4e9, a second or two


@dataclass(frozen=True)
class SecondOrder:
    """Weights are matrices (groups, R, C), and `inputs` the means of x x^T of what enters them, (groups, C, C).

    `damping` is relative to the mean diagonal of H; `block`: columns that are chosen from together.
    """

    scope: str = "scaled"
    damping: float = 0.01
    block: int = 4

    needs = "inputs"

    def __post_init__(self) -> None:
        if self.scope not in ("layer", "scaled"):
            raise ValueError(f"scope of second-order must be layer or scaled, got '{self.scope}'")
        if not self.damping > 0 or self.block < 1:
            raise ValueError(f"damping must be positive and block at least 1, got {self.damping} and {self.block}")

    def prune(self, weights: FloatArrays, sparsity: float, inputs: FloatArrays) -> dict[str, NDArray[np.float64]]:
        """Matrices by name -> matrices with exactly round(sparsity * size) zeros, the others changed."""
        if lacking := sorted(weights.keys() - inputs.keys()):
            raise ValueError(f"expected what enters every layer, got nothing of '{lacking[0]}'")
        damped = {name: _damped(inputs[name], self.damping) for name in weights}
        factors = {name: _factors(h) for name, h in damped.items()}
        scores = {name: self._scores(weights[name], factors[name], inputs[name]) for name in weights}
        if self.scope == "layer":
            kept = {name: keep for name in scores for keep in keep_largest({name: scores[name]}, sparsity).values()}
        else:
            kept = keep_largest(scores, sparsity)
        left = {name: self._layer(weights[name], factors[name], ~kept[name]) for name in weights}
        return {name: _fitted(weights[name], after, damped[name]) for name, after in left.items()}

    def _scores(self, matrices: FloatArray, factors: FloatArray, moments: FloatArray) -> FloatArray:
        """The errors as all stands, relative to the sum of squares of the layer's outputs."""
        inverse = np.square(factors).sum(axis=1)  # the diagonal of U^T U, (groups, C)
        energy = float(np.einsum("grc,gcd,grd->", matrices, moments, matrices, optimize=True))
        errors: NDArray[np.float64] = np.square(matrices, dtype=np.float64) / inverse[:, None, :]
        return errors / max(energy, 1e-300)

    def _layer(self, matrices: FloatArray, factors: FloatArray, wanted: NDArray[np.bool_]) -> NDArray[np.float64]:
        left = np.array(matrices, np.float64)
        columns = left.shape[2]
        for first in range(0, columns, self.block):
            last = min(first + self.block, columns)
            part = left[:, :, first:last]
            pivots = np.diagonal(factors, axis1=1, axis2=2)[:, None, first:last]
            errors: NDArray[np.float64] = np.square(part / pivots, dtype=np.float64)
            least = np.argsort(errors, axis=None, kind="stable")[: int(wanted[:, :, first:last].sum())]
            goes = np.zeros(errors.shape, np.bool_)
            goes.reshape(-1)[least] = True
            for column in range(first, last):
                off = goes[:, :, column - first]
                missed = np.where(off, left[:, :, column] / factors[:, None, column, column], 0.0)  # (groups, R)
                left[:, :, column:] -= missed[:, :, None] * factors[:, None, column, column:]
                left[:, :, column][off] = 0.0
        return left


def _damped(moments: FloatArray, damping: float) -> NDArray[np.float64]:
    h = np.array(moments, np.float64)
    level = np.trace(h, axis1=1, axis2=2)[:, None, None] / h.shape[1]
    return h + np.where(level > 0, damping * level, 1.0) * np.eye(h.shape[1])


def _factors(damped: NDArray[np.float64]) -> NDArray[np.float64]:
    """U of H^-1 = U^T U, (groups, C, C)."""
    inverse: FloatArray = np.linalg.inv(damped)
    return np.array(np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1), np.float64)


def _fitted(matrices: FloatArray, left: NDArray[np.float64], damped: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is not zero in `left`, fitted exactly; `left` where that would take too long."""
    groups, rows, columns = left.shape
    if groups * rows * columns**3 / 3 > MOST_WORK:
        return left
    found = np.zeros_like(left)
    for group, row in np.argwhere((left != 0).any(axis=2)):
        stays = np.flatnonzero(left[group, row])
        h = damped[group][stays]
        found[group, row, stays] = np.linalg.solve(h[:, stays], h @ np.asarray(matrices[group, row], np.float64))
    return found
