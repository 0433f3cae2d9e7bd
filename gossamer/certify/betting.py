# SPDX-License-Identifier: Apache-2.0
"""Upper bound for the mean drop of a quality between 0 and 1, such as IoU: rare large losses do not break it.

n images with differences d = quality of the original - quality of the compressed, in [-1, 1], mean delta. Bet against
H0: delta >= epsilon, on each image the same share lambda of the wealth that is there:

    W(epsilon) = prod over images of 1 + lambda (epsilon - d),     0 < lambda <= 1 / (1 - epsilon)

Under H0 no factor has a mean above 1, so W >= 1 / alpha has probability alpha at most (Markov).

    p(epsilon) = min(1, 1 / W(epsilon))        U = the epsilon where p = alpha;  W rises in epsilon: p <= alpha and
                                                U <= epsilon say the same

Any lambda is right that does not depend on the images of the test; a good one makes the bound small. It is the one that
would have made it smallest on the selection split, were that as large as the test split.

Paper: I. Waudby-Smith, A. Ramdas, "Estimating means of bounded random variables by betting", Journal of the Royal
Statistical Society B 86, 2024, arXiv 2010.09686, section 4.
Differs from the paper: one wager for all images, from a split of its own, instead of one that follows the images seen
before: the bound does not depend on their order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gossamer.certify.binomial import root

Floats = npt.NDArray[np.float64]

WAGERS = 100  # tried on the selection split, evenly spaced in logarithms
LEAST_WAGER, MOST_WAGER = 1e-3, 0.999  # the largest wager that is right for every bound above 0 is 1
RESOLUTION = 1e-6  # of the bound, which is rounded up
STEPS = 10_000  # in a whole point of quality: differences are rounded up to them, so that a certificate can list them


@dataclass(frozen=True)
class Differences:
    """Qualities between 0 and 1 of the same images, original minus compressed, as a certificate keeps them.

    `steps`: one for each image, ascending, of 1 / 10,000, rounded up; `wager`: what is bet on each.
    """

    steps: tuple[int, ...]
    wager: float

    def __post_init__(self) -> None:
        if not self.steps or not -STEPS <= min(self.steps) <= max(self.steps) <= STEPS:
            raise ValueError(f"expected a difference from -1 to 1 for each image, at least one, got {len(self.steps)}")
        if list(self.steps) != sorted(self.steps):
            raise ValueError("expected differences in ascending order; sort them")
        if not 0 < self.wager <= MOST_WAGER:
            raise ValueError(f"expected a wager above 0 and at most {MOST_WAGER}, got {self.wager}")

    @classmethod
    def of(cls, original: npt.ArrayLike, compressed: npt.ArrayLike, share: float) -> Differences:
        """From the qualities of both networks, (n,) and (n,), on the same images."""
        differences = difference(original, compressed)
        rounded = np.ceil(np.round(differences * STEPS, 6)).astype(int)  # 6: what float32 leaves of a tie is none
        return cls(tuple(sorted(rounded.tolist())), share)

    @property
    def n(self) -> int:
        """Images."""
        return len(self.steps)

    @property
    def b(self) -> int:
        """Images on which the compressed network is worse."""
        return sum(step > 0 for step in self.steps)

    @property
    def c(self) -> int:
        """Images on which it is better."""
        return sum(step < 0 for step in self.steps)

    @property
    def drop(self) -> float:
        """Observed mean drop, a fraction."""
        return sum(self.steps) / STEPS / self.n

    def p_value(self, epsilon: float) -> float:
        """p of H0: mean drop >= `epsilon`."""
        return p_value(np.array(self.steps) / STEPS, epsilon, self.wager)

    def upper_bound(self, alpha: float) -> float:
        """Upper confidence bound of the mean drop at level `alpha`."""
        return upper_bound(np.array(self.steps) / STEPS, alpha, self.wager)


def difference(original: npt.ArrayLike, compressed: npt.ArrayLike) -> Floats:
    """Original minus compressed, (n,), of qualities of the same images, (n,) each."""
    before, after = np.asarray(original, float), np.asarray(compressed, float)
    if before.shape != after.shape:
        raise ValueError(f"expected the qualities of the same images, got {before.shape} and {after.shape}")
    return _checked(before - after)


def expected_p_value(selection: npt.ArrayLike, n: int, epsilon: float, share: float) -> float:
    """The p that `n` test images would give, were they to answer as the selection split, differences (m,), did."""
    differences = _checked(selection)
    return float(min(1.0, math.exp(-n / len(differences) * _growth(differences, epsilon, share))))


def can_prove(n: int, epsilon: float, alpha: float) -> bool:
    """Whether `n` images prove a drop below `epsilon` when not one of them changes."""
    return n * math.log1p(MOST_WAGER * epsilon) >= -math.log(_level(alpha))


def wager(selection: npt.ArrayLike, n: int, alpha: float) -> float:
    """The share to bet on each of `n` test images, from the differences on the selection split, (m,)."""
    differences = _checked(selection)
    if n < 1:
        raise ValueError(f"expected at least one test image, got {n}")
    shares = np.geomspace(LEAST_WAGER, MOST_WAGER, WAGERS)
    values, counts = np.unique(differences, return_counts=True)
    wanted = -math.log(_level(alpha)) / n  # of the mean logarithm of a factor

    low, high = np.maximum(-1.0, 1 - 1 / shares), np.ones(WAGERS)
    for _ in range(25):  # the bound of every share at once
        middle = (low + high) / 2
        factors = 1 + shares[:, None] * (middle[:, None] - values)
        growth = np.log(np.maximum(factors, 1e-300)) @ counts / len(differences)
        low, high = np.where(growth < wanted, middle, low), np.where(growth < wanted, high, middle)
    return float(shares[np.argmin(high)])


def p_value(test: npt.ArrayLike, epsilon: float, share: float) -> float:
    """p of H0: mean drop >= `epsilon`, from the differences on the test split, (n,), and a wager of before."""
    differences = _checked(test)
    _check_share(share, epsilon)
    return float(min(1.0, math.exp(-_growth(differences, epsilon, share))))


def upper_bound(test: npt.ArrayLike, alpha: float, share: float) -> float:
    """Upper confidence bound of the mean drop at level `alpha`; 1 when nothing is proven.

    >>> differences = np.zeros(1000)
    >>> 0.003 < upper_bound(differences, alpha=0.05, share=wager(differences, n=1000, alpha=0.05)) < 0.0031
    True
    """
    differences = _checked(test)
    wanted = -math.log(_level(alpha))
    least = max(-1.0, 1 - 1 / share)
    _check_share(share, least)
    if _growth(differences, 1.0, share) < wanted:
        return 1.0
    return root(lambda epsilon: wanted - _growth(differences, epsilon, share), least, 1.0, RESOLUTION)[1]


def _growth(differences: Floats, epsilon: float, share: float) -> float:
    """log W"""
    with np.errstate(divide="ignore"):  # all may be lost on one image
        return float(np.log1p(np.maximum(share * (epsilon - differences), -1)).sum())


def _checked(values: npt.ArrayLike) -> Floats:
    differences = np.asarray(values, float)
    if differences.ndim != 1 or not len(differences) or not (np.abs(differences) <= 1).all():
        raise ValueError(
            "expected the difference of two qualities between 0 and 1 for each image, at least one, got "
            f"{differences.shape} from {differences.min(initial=0):g} to {differences.max(initial=0):g}"
        )
    return differences


def _level(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}; 95 % confidence is 0.05")
    return alpha


def _check_share(share: float, epsilon: float) -> None:
    if not 0 < share * (1 - epsilon) <= 1 + 1e-12:
        raise ValueError(f"expected a wager above 0 and at most 1 / (1 - {epsilon:g}), got {share}: all could be lost")
