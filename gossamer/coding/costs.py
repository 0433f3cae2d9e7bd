# SPDX-License-Identifier: Apache-2.0
"""Costs: what an integer of each bit length would take in each place of a tensor, for training and for rounding.

A file's coder learns from the weights before a weight. Whoever chooses integers wants to know more: a zero among
zeros makes the weights after it cheaper too. So each weight is looked up by how large *all* its relatives are, those
that come after it as well:

    e = place / all x (kernel + filter x channel / all) / 2

with means over the rest of its kernel, over the other kernels of its filter, over the other kernels of its input
channel, over its place in all kernels, and over all weights; in a matrix, e = filter x channel / all. All are means
of magnitudes up to 16. Weights of like e share a table of how often each bit length occurs among them, drawn towards
a two-sided geometric distribution of their mean while they are few. Bits of a class: -log2 of its share, one for the
sign, and one for each bit below the highest.

The sum over a tensor comes close to what `adaptive` needs for it (a test says how close); the gradient is the point.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Costs = Callable[[NDArray[np.int32]], NDArray[np.float32]]
"""Integers -> bits, (classes, *shape): what an integer of bit length 0, 1, 2, ... costs in each place."""

LARGEST_RELATIVE = 16  # larger magnitudes say nothing more about their neighbours
BUCKETS, PER_OCTAVE, QUIETEST = 26, 2.5, 0.02  # of e: the first holds weights all of whose relatives are zero
PRIOR = 8.0  # weights that a table's geometric distribution counts for
FEWEST_CLASSES = 6
RAREST = 1e-3  # the smallest probability of a class in that distribution


def costs(values: NDArray[np.int32]) -> NDArray[np.float32]:
    """Bits, (classes, *shape), of an integer of bit length 0, 1, 2, ... in each place of integers of any shape.

    Classes go one beyond the longest that occurs, and to 6 at least.

    >>> costs(np.zeros((8, 8), np.int32))[:2, 0, 0].astype(int).tolist()
    [0, 14]
    """
    if not values.size:
        return np.zeros((FEWEST_CLASSES, *values.shape), np.float32)
    magnitude = np.abs(values.astype(np.int64))
    lengths = _bit_length(magnitude)
    classes = max(FEWEST_CLASSES, int(lengths.max(initial=0)) + 2)
    bucket = _bucket(_relatives(magnitude))
    counts = np.bincount((bucket * classes + lengths).reshape(-1), minlength=BUCKETS * classes)
    sums = np.bincount(bucket.reshape(-1), magnitude.reshape(-1), BUCKETS).astype(np.float64)
    table = _bits(counts.reshape(BUCKETS, classes).astype(np.float64), sums)
    return np.ascontiguousarray(np.moveaxis(table.astype(np.float32)[bucket], -1, 0))


def coded_bits(values: NDArray[np.int32]) -> float:
    """What the integers themselves cost, in all."""
    lengths = _bit_length(np.abs(values.astype(np.int64)))
    return float(np.take_along_axis(costs(values), lengths[None], 0).sum())


def _bit_length(magnitude: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.frexp(magnitude.astype(np.float64))[1].astype(np.int64)


def _relatives(magnitude: NDArray[np.int64]) -> NDArray[np.float64]:
    """e of the header, the shape of `magnitude`; what a tensor has only one of says nothing."""
    filters = magnitude.shape[0] if magnitude.ndim else 1
    channels = magnitude.shape[1] if magnitude.ndim > 1 else 1
    a = np.minimum(magnitude, LARGEST_RELATIVE).astype(np.float64).reshape(filters, channels, -1)
    places = a.shape[2]
    kernel = a.mean(2, keepdims=True)
    overall = max(float(a.mean()), 1e-9)
    same_filter = (kernel.sum(1, keepdims=True) - kernel) / (channels - 1) if channels > 1 else overall
    same_channel = (kernel.sum(0, keepdims=True) - kernel) / (filters - 1) if filters > 1 else overall
    e = same_filter * same_channel / overall
    if places > 1:
        e = (e + (kernel * places - a) / (places - 1)) / 2 * (a.mean((0, 1)) / overall)
    return np.broadcast_to(e, a.shape).reshape(magnitude.shape)


def _bucket(e: NDArray[np.float64]) -> NDArray[np.int64]:
    first = PER_OCTAVE * np.log2(QUIETEST)
    bucket: NDArray[np.int64] = np.clip(PER_OCTAVE * np.log2(e + QUIETEST) - first, 0, BUCKETS - 1).astype(np.int64)
    return bucket


def _bits(counts: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bits of each class in each bucket, from how often it occurred and the sum of magnitudes; both (buckets, ...)."""
    seen = counts.sum(1, keepdims=True)
    overall = sums.sum() / max(counts.sum(), 1)
    mean = np.maximum((sums[:, None] + PRIOR / 2 * overall) / (seen + PRIOR / 2), 1e-3)
    # P(m) = (1 - t) / (1 + t) * t^m, twice that for m > 0, has the mean magnitude 2 t / (1 - t^2)
    t = (np.sqrt(1 + mean**2) - 1) / mean
    longest = counts.shape[1] - 1
    at_least = 2 / (1 + t) * t ** (2.0 ** np.arange(longest + 1))  # P(magnitude >= 1, 2, 4, ...)
    before = np.concatenate([np.ones_like(t), at_least[:, :-1]], 1)
    prior = np.maximum(before - at_least, RAREST)
    share = (counts + PRIOR * prior) / (seen + PRIOR * prior.sum(1, keepdims=True))
    raw = np.arange(longest + 1) - 1.0  # bits below the highest
    raw[0] = -1.0
    return np.asarray(raw + 1 - np.log2(share))
