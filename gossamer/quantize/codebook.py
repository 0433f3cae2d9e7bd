# SPDX-License-Identifier: Apache-2.0
"""Codebook: the weights of a layer share a few values, found by k-means in one dimension.

Paper: S. Han, H. Mao, W. J. Dally, "Deep Compression", ICLR 2016, arXiv 1510.00149, section 3.

    k-means   minimise sum_k sum_{w in cluster k} (w - C_k)^2 over the weights that are not zero
    linear    C_1..C_k equally spaced over [min w, max w]        the paper's choice: few weights are large, and they
                                                                 matter; the other two put few centroids near them
    forgy     k of the weights, drawn at random
    density   equally spaced in the cumulative distribution of the weights

Differs from the paper:
1. Zero is a value of the codebook, so that `bits` bits leave 2^bits - 1 centroids. The released decoders have it so:
   their code 0 is the filler's.
2. Clusters that end empty are left out: no weight needs them.
3. Integers count from zero outwards (-1 is the next value below zero, 1 the next above), so that small integers are
   small weights, which is what our adaptive coder expects. To a Huffman code names do not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
MOST_ROUNDS = 300


@dataclass(frozen=True, eq=False)
class Codebook:
    """Shared values, (K,) float32, ascending, zero among them.

    >>> book = Codebook(np.array([-0.5, 0, 0.25, 1], np.float32))
    >>> book.integers(np.array([[0.0, 0.3], [-0.4, 2.0]], np.float32)).tolist()
    [[0, 1], [-1, 2]]
    """

    values: FloatArray

    def __post_init__(self) -> None:
        if not (np.diff(self.values) > 0).all() or not (self.values == 0).any():
            raise ValueError(f"a codebook must ascend and hold zero, got {self.values}")

    @property
    def zero(self) -> int:
        """The place of zero."""
        return int(np.searchsorted(self.values, 0))

    def integers(self, weights: NDArray[np.floating]) -> NDArray[np.int32]:
        """The nearest value to each weight, counted from zero; of any shape. Zero alone becomes zero."""
        values = np.delete(self.values, self.zero).astype(np.float64)
        if not values.size:
            return np.zeros(weights.shape, np.int32)
        nearest = np.searchsorted((values[1:] + values[:-1]) / 2, weights) - self.zero
        return np.where(weights == 0, 0, nearest + (nearest >= 0)).astype(np.int32)

    def shared(self, weights: NDArray[np.floating]) -> FloatArray:
        """Each weight's value, of the same shape."""
        values: FloatArray = self.values[self.integers(weights) + self.zero]
        return values


def share(weights: NDArray[np.floating], bits: int, initial: str = "linear", seed: int = 0) -> Codebook:
    """The codebook of a layer's weights, of any shape, with at most 2^bits values."""
    if initial not in INITIAL:
        raise ValueError(f"initial centroids must be one of {', '.join(INITIAL)}, got '{initial}'")
    if not 1 <= bits <= 12:
        raise ValueError(f"bits must be in 1..12, got {bits}; the paper has 8 for convolutions and 5 for linear layers")
    some = np.sort(weights[weights != 0].astype(np.float64))
    count = 2**bits - 1
    distinct = np.unique(some)
    if len(distinct) > count:
        distinct = kmeans(some, INITIAL[initial](some, count, np.random.default_rng(seed)))
    values = np.unique(np.append(distinct.astype(np.float32), np.float32(0)))
    return Codebook(values)


def kmeans(some: NDArray[np.float64], centroids: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lloyd's algorithm on sorted values, (N,), from initial centroids, (k,): the centroids of what is not empty.

    In one dimension clusters are intervals, so that a round needs k binary searches and no look at the values.
    """
    sums = np.concatenate([[0.0], np.cumsum(some)])
    edges = np.zeros(0, np.int64)
    for _ in range(MOST_ROUNDS):
        middle = np.searchsorted(some, (centroids[1:] + centroids[:-1]) / 2)
        before, edges = edges, np.concatenate([[0], middle, [len(some)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        centroids = np.where(counts > 0, means, centroids)  # an empty cluster waits where it is
        if np.array_equal(before, edges):
            break
    return centroids[counts > 0]


def _linear(some: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.linspace(some[0], some[-1], count)


def _forgy(some: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.sort(rng.choice(np.unique(some), count, replace=False))


def _density(some: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.unique(np.quantile(some, (np.arange(count) + 0.5) / count))


INITIAL: dict[str, Callable[[NDArray[np.float64], int, np.random.Generator], NDArray[np.float64]]] = {
    "linear": _linear,
    "forgy": _forgy,
    "density": _density,
}
