# SPDX-License-Identifier: Apache-2.0
"""Which range of an activation its 256 grid points should span, from a histogram that needs one pass.

'minmax'       the smallest and the largest value seen
'percentile'   cut off 0.01 % of the values at each end
'mse'          the range with the least expected squared error, of rounding inside and clipping outside:
               sum over bins of count * (x - Q(x))^2
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

BINS = 8192  # a power of two; at least a quarter lie on the occupied side: 8 per step of an 8-bit grid

Range = tuple[float, float]


class Histogram:
    """Counts of values over [-limit, limit], the limit growing by doubling as larger values come.

    >>> seen = Histogram()
    >>> seen.observe(np.array([0.0, 1.0, 3.0]))
    >>> seen.low, seen.high, seen.limit
    (0.0, 3.0, 4.0)
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.limit = 2.0**-20
        self.low, self.high = np.inf, -np.inf

    def observe(self, values: NDArray[np.floating]) -> None:
        """Add values of any shape; ValueError if one is not finite."""
        flat = values.reshape(-1)
        low, high = float(flat.min()), float(flat.max())
        if not np.isfinite(low + high):
            raise ValueError(f"expected finite values, got a range of {low} to {high}")
        self.low, self.high = min(self.low, low), max(self.high, high)
        while self.limit <= max(-low, high):
            self._double()
        bins = np.floor(flat * (BINS / (2 * self.limit))).astype(np.int32)  # exact: times a power of two
        self.counts += np.bincount(bins + BINS // 2, minlength=BINS)

    def _double(self) -> None:
        """Merge bins in pairs; what was the whole becomes the middle half."""
        merged = self.counts.reshape(-1, 2).sum(1)
        self.counts = np.pad(merged, BINS // 4)
        self.limit *= 2

    @property
    def centres(self) -> NDArray[np.float64]:
        return (np.arange(BINS, dtype=np.float64) + 0.5) * (2 * self.limit / BINS) - self.limit


def minmax(seen: Histogram) -> Range:
    return seen.low, seen.high


def percentile(seen: Histogram, share: float = 1e-4) -> Range:
    below = np.cumsum(seen.counts) / seen.counts.sum()
    ends = seen.centres[np.searchsorted(below, (share, 1 - share))]
    low, high = (float(end) for end in np.clip(ends, seen.low, seen.high))
    return low, high


def mse(seen: Histogram) -> Range:
    """Shrink one end at a time over 80 positions down to a fifth of the extreme, twice."""
    x = seen.centres[seen.counts > 0]
    weight = seen.counts[seen.counts > 0].astype(np.float64)
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    shrunk = np.linspace(1.0, 0.2, 81)

    def error(low: float, high: float) -> float:
        scale = (high - low) / 255 or 1.0
        zero = round(-low / scale)
        q = np.clip(np.rint(x / scale) + zero, 0, 255)
        return float((weight * (x - scale * (q - zero)) ** 2).sum())

    for _ in range(2):
        high = min((high * k for k in shrunk), key=lambda end: error(low, end))
        low = min((low * k for k in shrunk), key=lambda end: error(end, high)) if low < 0 else low
    return low, high


METHODS: dict[str, Callable[[Histogram], Range]] = {"mse": mse, "minmax": minmax, "percentile": percentile}
