# SPDX-License-Identifier: Apache-2.0
"""Rate-distortion quantization: integers by the error they make in the output, plus what they cost in the file.

Papers: E. Frantar, D. Alistarh, "Optimal Brain Compression", NeurIPS 2022, arXiv 2208.11580, and E. Frantar,
S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ", ICLR 2023, arXiv 2210.17323, section 3: each column's rounding error is
made good by the columns after it. S. Wiedemann et al., "DeepCABAC", IEEE JSTSP 14 (2020), section IV: of the integers
near a weight take the one with the least error plus lambda times its bits.

A layer's weights W (R, C), integers Q and steps D (R,) make an error E = W - D Q, and the network's output an error of
tr(B E A E^T), with A (C, C) the second moments of the layer's inputs and B (R, R) those of the output's gradients
(J. Martens, R. Grosse, "K-FAC", ICML 2015, arXiv 1503.05671, section 3). With A = M^T diag(a) M and
B = N^T diag(b) N, M and N unit lower triangular, that error is the sum over all places of

    b_r a_c (N E M^T)_rc ^2

and (N E M^T)_rc holds E_rc plus what was chosen in earlier rows and columns. So, place by place, row by row:

    t = W_rc + (what rows < r and columns < c left there)        q = argmin b_r a_c (t - D_r q)^2 + lambda bits_rc(q)

Differs from the papers:
1. Errors are made good by later rows too (GPTQ's B is the identity): a filter can undo what the filters before it did
   to the output.
2. The bits are those of the file's coder for the integers of the pass before; there are a few passes.
3. Steps follow from lambda, D_r = sqrt(lambda / (FINENESS b_r mean(a))): the finer, the more an error of the row costs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.coding.costs import Costs
from gossamer.coding.machine_code import machine_code

Floats = NDArray[np.float64]
FINENESS = 0.09  # measured on ResNet-20: 0.08 to 0.10 give the same curve, 0.12 costs 2 %, 0.16 costs 5 %
PASSES = 3
BLOCK = 64  # rows, columns: errors within a block go through the loop, those of earlier blocks through one product


@dataclass(frozen=True, eq=False)
class Factored:
    """A symmetric positive matrix (n, n) as lower^T diag(pivots) lower, `lower` unit lower triangular."""

    lower: Floats
    pivots: Floats

    @classmethod
    def of(cls, matrix: Floats, damping: float) -> Factored:
        """Factor a matrix after adding `damping` times the mean of its diagonal to it; (n, n)

        >>> half = Factored.of(np.array([[2.0, 1.0], [1.0, 2.0]]), 0.0)
        >>> half.lower.round(6).tolist(), half.pivots.round(6).tolist()
        ([[1.0, 0.0], [0.5, 1.0]], [1.5, 2.0])
        """
        size = len(matrix)
        level = float(np.trace(matrix)) / size
        if not np.isfinite(level) or level < 0:
            raise ValueError(f"expected a matrix of second moments, got one with a mean diagonal of {level}")
        if level == 0:  # nothing ever enters here, or nothing comes of it: every error is as good as none
            return cls(np.eye(size), np.full(size, np.finfo(np.float64).tiny))
        damped = matrix + damping * level * np.eye(size)
        # cholesky gives lower x lower^T; of the matrix turned by 180 degrees it is what is wanted, turned
        turned = torch.from_numpy(damped[::-1, ::-1].copy())
        root = torch.linalg.cholesky(turned).numpy()[::-1, ::-1]
        diagonal = np.diagonal(root).copy()
        return cls(np.ascontiguousarray((root / diagonal).T), diagonal**2)


@dataclass(frozen=True, eq=False)
class Problem:
    """One weight tensor as `groups` matrices: weights (G, R, C), and per group the factors of B and A."""

    weights: Floats
    rows: Sequence[Factored]
    columns: Sequence[Factored]

    def __post_init__(self) -> None:
        groups, rows, columns = self.weights.shape
        sizes = {(len(b.pivots), len(a.pivots)) for b, a in zip(self.rows, self.columns, strict=True)}
        if len(self.rows) != groups or sizes != {(rows, columns)}:
            raise ValueError(f"expected {groups} factors of {rows} rows and {columns} columns, got {sorted(sizes)}")

    def steps(self, strength: float, fineness: float = FINENESS) -> Floats:
        """The step of each row's grid, (G, R), that suits `strength` (lambda: output error per bit).

        At most twice the row's largest weight: there every weight is rounded to zero already.
        """
        b = np.stack([factored.pivots for factored in self.rows])
        a = np.array([factored.pivots.mean() for factored in self.columns])
        largest = np.abs(self.weights).max(2)
        most = np.where(largest > 0, 2 * largest, 1.0)
        needed: Floats = strength / most**2 / fineness  # of b a, for a step of `most`
        steps: Floats = most * np.sqrt(needed / np.maximum(b * a[:, None], needed))
        return steps

    def error(self, integers: NDArray[np.int32], steps: Floats) -> float:
        """tr(B E A E^T) over all groups: the error that integers (G, R, C) make in the output."""
        left = self.weights - steps[:, :, None] * integers
        parts = zip(left, self.rows, self.columns, strict=True)
        return float(sum((b.pivots[:, None] * a.pivots * (b.lower @ e @ a.lower.T) ** 2).sum() for e, b, a in parts))


def choose_integers(
    problem: Problem, steps: Floats, strength: float, costs: Costs, passes: int = PASSES
) -> NDArray[np.int32]:
    """The integers (G, R, C) of a small error plus `strength` times their bits; steps (G, R).

    `costs` is asked with integers (G, R, C), first with those of plain rounding. With `strength` 0 only errors count.
    """
    groups, rows, _ = problem.weights.shape
    if steps.shape != (groups, rows) or not (steps > 0).all():
        raise ValueError(f"expected a positive step for each of {groups} x {rows} rows, got {steps.shape}")
    if not (np.isfinite(problem.weights).all() and strength >= 0):
        raise ValueError(f"expected finite weights and a strength of at least 0, got {strength}")
    integers = np.rint(problem.weights / steps[:, :, None]).astype(np.int32)
    for _ in range(passes):
        bits = costs(integers)
        integers = np.stack(
            [
                _choose(problem.weights[g], problem.rows[g], problem.columns[g], steps[g], strength, bits[:, g])
                for g in range(groups)
            ]
        )
    return integers


def _choose(
    weights: Floats, rows: Factored, columns: Factored, steps: Floats, strength: float, bits: NDArray[np.float32]
) -> NDArray[np.int32]:
    """One pass over a matrix (R, C), block by block; bits (classes, R, C)."""
    height, width = weights.shape
    integers = np.zeros(weights.shape, np.int32)
    errors, seen = np.zeros(weights.shape), np.zeros(weights.shape)  # E, and E M^T: what later rows see of it
    loop = _compiled() or choose_block
    for start in range(0, width, BLOCK):
        right = slice(start, start + BLOCK)
        left = _product(errors[:, :start], columns.lower[right, :start].T)
        upper = np.ascontiguousarray(columns.lower[right, right].T)
        for top in range(0, height, BLOCK):
            down = slice(top, top + BLOCK)
            integers[down, right], seen[down, right] = loop(
                weights[down, right].copy(),
                left[down].copy(),
                _product(rows.lower[down, :top], seen[:top, right]),
                rows.lower[down, down].copy(),
                upper,
                rows.pivots[down],
                columns.pivots[right],
                steps[down],
                strength,
                np.ascontiguousarray(bits[:, down, right], np.float64),
            )
        errors[:, right] = weights[:, right] - steps[:, None] * integers[:, right]
    return integers


def _product(first: Floats, second: Floats) -> Floats:
    """A matrix product by the library and with the threads that the network runs with."""
    product: Floats = (torch.from_numpy(first) @ torch.from_numpy(np.ascontiguousarray(second))).numpy()
    return product


@functools.cache
def _compiled() -> Callable[..., tuple[NDArray[np.int32], Floats]] | None:
    return machine_code(choose_block)


def choose_block(
    weights: Floats,
    left: Floats,
    above: Floats,
    lower_rows: Floats,
    upper_columns: Floats,
    row_pivots: Floats,
    column_pivots: Floats,
    steps: Floats,
    strength: float,
    bits: Any,
) -> tuple[NDArray[np.int32], Floats]:
    """The integers of a block (R, C), and what later rows see of its errors; bits (classes, R, C).

    `left` is what the columns before it left in its rows, `above` what the rows before it left in its columns; both are
    used up. `upper_columns` is the transpose of the columns' factor. Written for numba and plain Python alike.
    """
    height, width = weights.shape
    longest = bits.shape[0] - 1
    integers = np.zeros((height, width), np.int32)
    seen = np.zeros((height, width))
    for r in range(height):
        for i in range(r):
            share = lower_rows[r, i]
            for c in range(width):
                above[r, c] += share * seen[i, c]
        for c in range(width):
            target = weights[r, c] + above[r, c] + left[r, c]
            weight = row_pivots[r] * column_pivots[c]
            nearest = int(np.floor(abs(target) / steps[r] + 0.5))
            best, least = 0, np.inf
            for down in range(4):  # the nearest, the two below it, and zero
                magnitude = nearest - down if down < 3 else 0
                if magnitude < 0:
                    break
                length = 0
                while magnitude >> length > 0:
                    length += 1
                beyond = max(length - longest, 0)
                cost = bits[length - beyond, r, c] + 2.0 * beyond
                miss = abs(target) - magnitude * steps[r]
                total = weight * miss * miss + strength * cost
                if total < least:
                    best, least = magnitude, total
            chosen = best if target > 0 else -best
            integers[r, c] = chosen
            error = weights[r, c] - chosen * steps[r]
            seen[r, c] = error + left[r, c]
            for k in range(c + 1, width):
                left[r, k] += upper_columns[c, k] * error
    return integers, seen
