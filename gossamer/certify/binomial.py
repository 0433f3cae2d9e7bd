# SPDX-License-Identifier: Apache-2.0
"""Binomial probabilities for the certificate, with numpy alone: who checks a file need not install scipy for it.

    paths  F(k(m); m, w) = P(at most k(m) of m), for all m at once. As k(0) is 0 or -1 and k rises by 0 or 1,
           F(k; m + 1) = F(k; m) - w P(k of m),   F(k + 1; m + 1) = F(k; m) + (1 - w) P(k + 1 of m)

Errors are below 1e-8, absolute, for a million images; the tests compare with scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

ERROR = 1e-8

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def binomial(k: npt.ArrayLike, n: npt.ArrayLike, p: npt.ArrayLike) -> Floats:
    """P(k of n) where each has probability `p`, element by element; 0 for k outside 0 to n."""
    k, n, p = np.asarray(k, np.int64), np.asarray(n, np.int64), np.asarray(p, float)
    inside = (k >= 0) & (k <= n)
    k = np.where(inside, k, 0)
    table = _log_factorials(1 << int(n.max(initial=0)).bit_length())
    logs = table[n] - table[k] - table[n - k] + _times_log(k, p) + _times_log(n - k, 1 - p)
    result: Floats = np.where(inside, np.exp(logs), 0.0)
    return result


def at_most(path: Ints, w: Floats) -> Floats:
    """F(path[m]; m, w) for m = 0, 1, ...: (M,), (Q,) -> (Q, M).

    `path` begins with -1 or 0 and rises by 0 or 1.
    """
    k, rises, m, w = path[:-1], np.diff(path), np.arange(len(path) - 1), w[:, None]
    steps = np.where(rises == 0, -w * binomial(k, m, w), (1 - w) * binomial(k + 1, m, w))
    first = np.full((len(w), 1), float(path[0] == 0))
    result: Floats = np.clip(np.cumsum(np.concatenate([first, steps], axis=1), axis=1), 0, 1)
    return result


def most_likely_at_most(n: int, p: float, beyond: float) -> int:
    """The smallest number that more of `n` than it has probability `beyond` at most."""
    more = np.cumsum(binomial(np.arange(n, 0, -1), n, p))[::-1]  # of more than 0, 1, ..., n - 1
    return int(np.count_nonzero(more > beyond))


def clopper_pearson(c: int, n: int, level: float) -> tuple[float, float]:
    """Exact interval of a probability after `c` of `n`; each end is missed with probability `level` / 2 at most."""
    down, up = np.arange(c + 1), np.arange(c, n + 1)
    low = 0.0 if c == 0 else root(lambda p: level / 2 - float(binomial(up, n, p).sum()), 0.0, 1.0)[0]
    high = 1.0 if c == n else root(lambda p: float(binomial(down, n, p).sum()) - level / 2, 0.0, 1.0)[1]
    return low, high


def root(falling: Callable[[float], float], low: float, high: float, within: float = 1e-14) -> tuple[float, float]:
    """Where a falling function crosses zero: two ends not farther apart than `within`, by bisection.

    It is positive at the first end and not at the second; `low` and `high` are taken as such unlooked at.
    """
    while high - low > within:
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low, high


@lru_cache(maxsize=4)
def _log_factorials(n: int) -> Floats:
    return np.array([math.lgamma(k + 1) for k in range(n + 1)])


def _times_log(k: Ints, p: Floats) -> Floats:
    """k log p, and 0 where k is 0."""
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    return np.where(k == 0, 0.0, np.where(k == 0, 1, k) * logs)
