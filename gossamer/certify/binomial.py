# SPDX-License-Identifier: Apache-2.0
"""Binomial probabilities for the certificate, with numpy alone: who checks a file need not install scipy for it.

    paths  F(k(m); m, w) = P(at most k(m) of m), for all m at once. As k(0) is 0 or -1 and k rises by 0 or 1,
           F(k; m + 1) = F(k; m) - w P(k of m),   F(k + 1; m + 1) = F(k; m) + (1 - w) P(k + 1 of m)
           From a later m on the first F is summed from its terms. Sums leave out what has at most the mass `TAIL` at
           either end: whoever needs an upper bound adds it.

Errors are below 1e-8, absolute, for a million images; the tests compare with scipy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

ERROR = 1e-8
TAIL = 1e-13

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


def at_most(path: Ints, w: Floats, start: int = 0) -> Floats:
    """F(path[i]; start + i, w) for i = 0, 1, ...: (M,), (Q,) -> (Q, M), up to 2 `TAIL` too small.

    `path` rises by 0 or 1, and its first element is -1 to `start`.
    """
    k, rises, m, column = path[:-1], np.diff(path), start + np.arange(len(path) - 1), w[:, None]
    # of a step k or k + 1, as it rises; so one binomial serves both
    steps = binomial(k + rises, m, column) * np.where(rises == 0, -column, 1 - column)
    first = _cumulative(int(path[0]), start, w)[:, None]
    result: Floats = np.clip(np.cumsum(np.concatenate([first, steps], axis=1), axis=1), 0, 1)
    return result


def likely(n: int, lowest: float, highest: float) -> tuple[int, int]:
    """Between which numbers of `n` all but a mass of `TAIL` at either end lies, for any probability of this range.

    By Bernstein's inequality: P(X - n p >= t) <= exp(-t^2 / (2 n p (1 - p) + 2 t / 3)), and the same below.
    """
    logs = -math.log(TAIL)

    def beyond(p: float) -> int:
        return math.ceil(logs / 3 + math.sqrt(logs * logs / 9 + 2 * logs * n * p * (1 - p)))

    first = math.floor(n * lowest) - beyond(lowest)
    return max(0, first), min(n, math.ceil(n * highest) + beyond(highest))


def clopper_pearson(c: int, n: int, level: float) -> tuple[float, float]:
    """Exact interval of a probability after `c` of `n`; each end is missed with probability `level` / 2 at most."""

    def mass(p: float, least: int, most: int) -> float:
        first, last = likely(n, p, p)
        return float(binomial(np.arange(max(least, first), min(most, last) + 1), n, p).sum())

    low = 0.0 if c == 0 else root(lambda p: level / 2 - mass(p, c, n), 0.0, 1.0)[0]
    high = 1.0 if c == n else root(lambda p: mass(p, 0, c) - level / 2, 0.0, 1.0)[1]
    return low, high


def root(falling: Callable[[float], float], low: float, high: float, within: float = 1e-14) -> tuple[float, float]:
    """Where a falling function crosses zero: two ends not farther apart than `within`, by bisection.

    It is positive at the first end and not at the second; `low` and `high` are taken as such unlooked at.
    """
    while high - low > within:
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return low, high


def _cumulative(k: int, m: int, w: Floats) -> Floats:
    """P(at most k of m) where each has probability w: (Q,) -> (Q,), up to 2 `TAIL` too small."""
    if k < 0:
        return np.zeros_like(w)
    lowest, highest = likely(m, float(w.min()), float(w.max()))
    sums: Floats = binomial(np.arange(lowest, min(k, highest) + 1), m, w[:, None]).sum(axis=1)
    return sums


@lru_cache(maxsize=4)
def _log_factorials(n: int) -> Floats:
    return np.array([math.lgamma(k + 1) for k in range(n + 1)])


def _times_log(k: Ints, p: Floats) -> Floats:
    """k log p, and 0 where k is 0."""
    with np.errstate(divide="ignore"):
        logs = np.log(p)
    return np.where(k == 0, 0.0, np.where(k == 0, 1, k) * logs)
