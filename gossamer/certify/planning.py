# SPDX-License-Identifier: Apache-2.0
"""Planning: what so many test images can prove, before anything is compressed."""

from __future__ import annotations

from statistics import NormalDist

from gossamer.certify import betting
from gossamer.certify.certificate import check_tolerance, level
from gossamer.certify.exact import Counts, p_value, upper_bound

USUAL_SPREAD = 0.05  # standard deviation of what compression changes in the quality of an image


def provable_drop(n: int, flip_rate: float, tolerance: float, confidence: float, *, look: int = 1) -> float | None:
    """The largest observed drop that would still be proven to be below `tolerance` with `n` test images.

    `flip_rate` is the share of images that change correctness, (b + c) / n. None: no outcome with so many
    flips proves it, not even if every flip is for the better.
    """
    check_tolerance(tolerance)
    flips = _flips(n, flip_rate)
    alpha = level(confidence, look)

    def proven(b: int) -> bool:
        return p_value(Counts(n, b, flips - b), tolerance, alpha) <= alpha

    if not proven(0):
        return None
    low, high = 0, flips + 1  # proven(low); not proven(high), or no such outcome
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if proven(middle) else (low, middle)
    return Counts(n, low, flips - low).drop


def smallest_provable(n: int, flip_rate: float, confidence: float, *, look: int = 1) -> float:
    """The smallest tolerance that `n` test images prove at an observed drop of zero; `flip_rate` as above."""
    half = min((_flips(n, flip_rate) + 1) // 2, n // 2)
    return upper_bound(Counts(n, half, half), level(confidence, look))


def usual_wager(n: int, alpha: float) -> float:
    """The share to bet on each of `n` images where no selection split says which.

    The best one if the quality of an image changes by five points, either way.
    """
    return betting.wager(_changes(n, USUAL_SPREAD), n, alpha)


def smallest_by_bets(n: int, spread: float, confidence: float, *, look: int = 1) -> float:
    """The same where quality is a number, and changes by so much an image, in standard deviations about no drop."""
    changes, alpha = _changes(n, spread), level(confidence, look)
    return betting.upper_bound(changes, alpha, betting.wager(changes, n, alpha))


def _changes(n: int, spread: float) -> list[float]:
    """What `n` images lose, at no drop of their mean."""
    if n < 1:
        raise ValueError(f"n must be at least one test image, got {n}")
    normal = NormalDist(0.0, max(spread, 1e-12))
    return [min(1.0, max(-1.0, normal.inv_cdf((place + 0.5) / n))) for place in range(n)]


def _flips(n: int, flip_rate: float) -> int:
    if n < 1:
        raise ValueError(f"n must be at least one test image, got {n}")
    if not 0 <= flip_rate <= 1:
        raise ValueError(f"flip_rate must be a share of images in [0, 1], got {flip_rate}; 5 % is 0.05")
    return round(n * flip_rate)
