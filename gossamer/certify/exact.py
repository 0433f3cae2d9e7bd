# SPDX-License-Identifier: Apache-2.0
"""Exact test and upper bound for the drop in right-or-wrong quality, paired by image.

n images, each judged right or wrong for the original and for the compressed network. b turned wrong, c turned
right; p10 and p01 are the probabilities of the two; delta = p10 - p01 is the true drop. H0: delta >= epsilon.

    score  T(b, c; epsilon) = (b - c - n epsilon) / sqrt(n (2 q + epsilon (1 - epsilon)))
           q = estimate of p01 under delta = epsilon = (sqrt(B^2 - 4 A C) - B) / 2 A,
           A = 2 n,  B = (2 n - b + c) epsilon - b - c,  C = -c epsilon (1 - epsilon)
    order  L(b, c) = the epsilon where T(b, c; epsilon) = -z(1 - alpha), an approximate limit that only ranks
    exact  p(epsilon) = gamma + sup of P(L(b', c') <= L(b, c)) over p01 = q in CP(1 - gamma; c, n),
           p10 = q + epsilon; CP is the Clopper-Pearson interval, gamma = alpha / 100
    bound  U = sup {epsilon : p(epsilon) > alpha}

Why it holds: at the true q, any ranking of the outcomes gives a valid p-value; the interval misses the true q
with probability gamma at most, and that is paid for. The ranking does not depend on epsilon, and rises in b
and falls in c: so p falls in epsilon, delta = epsilon is the worst case of H0, U is the one place where p
crosses alpha, and "p <= alpha" and "U <= epsilon" say the same. (Ranked by T(.; epsilon) itself, p is not
monotone: at n = 30 it crosses 0.05 more than once for 14 of the 496 outcomes, and bisection may find the
wrong crossing.)

Paper: Tango, "Equivalence test and confidence interval for the difference in proportions for the
paired-sample design", Statistics in Medicine 17, 1998: T and L. Buehler, "Confidence intervals for the
product of two binomial parameters", JASA 52, 1957: exact bounds from a ranking. Berger and Boos, "P values
maximized over a confidence set for the nuisance parameter", JASA 89, 1994: gamma. Lloyd and Moldovan, "A more
powerful exact test of noninferiority from binary matched-pairs data", Statistics in Medicine 27, 2008: these
put together.
Differs from the papers: the supremum is bounded, not searched (`_supremum`); gamma shrinks with alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from gossamer.certify.binomial import ERROR, TAIL, at_most, binomial, clopper_pearson, likely, root

RESOLUTION = 1e-6  # of the bound, which is rounded up

MOST_IMAGES = 1_000_000  # up to which the errors of the sums are known
_POINTS = 400  # of the grid over q; the slack that is added for the gaps is 1e-4 to 3e-4
_EDGE = 1e-6  # T is 0/0 at epsilon = -1 and 1; bounds are sought this far inside

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """`n` images: `b` turned from right to wrong under compression, `c` from wrong to right.

    >>> Counts(n=5000, b=136, c=114).drop
    0.0044
    """

    n: int
    b: int
    c: int

    def __post_init__(self) -> None:
        if self.n > MOST_IMAGES:
            raise ValueError(
                f"counts are of at most {MOST_IMAGES:,} images, got {self.n:,}; test on fewer, chosen by chance"
            )
        if min(self.b, self.c) < 0 or self.n < 1 or self.b + self.c > self.n:
            raise ValueError(
                f"counts must satisfy n >= 1, b >= 0, c >= 0 and b + c <= n, got n={self.n}, b={self.b}, "
                f"c={self.c}; count every test image once"
            )

    @classmethod
    def of(cls, original_right: npt.ArrayLike, compressed_right: npt.ArrayLike) -> Counts:
        """Count disagreements of two bool vectors over the same images, (n,) and (n,)."""
        original, compressed = np.asarray(original_right), np.asarray(compressed_right)
        for name, right in (("original_right", original), ("compressed_right", compressed)):
            if right.dtype != np.bool_ or right.ndim != 1:
                raise ValueError(
                    f"{name} must be a bool vector, one entry per test image, got {right.dtype} of shape "
                    f"{right.shape}; compare predictions with labels first"
                )
        if len(original) != len(compressed) or len(original) == 0:
            raise ValueError(
                f"original_right and compressed_right must cover the same images, at least one, got "
                f"{len(original)} and {len(compressed)}; judge both networks on the whole test split"
            )
        b, c = np.count_nonzero(original & ~compressed), np.count_nonzero(compressed & ~original)
        return cls(n=len(original), b=int(b), c=int(c))

    @property
    def drop(self) -> float:
        """Observed drop in quality, a fraction; negative when the compressed network is better."""
        return (self.b - self.c) / self.n

    @property
    def flips(self) -> int:
        """Images whose correctness changed, either way: these, not the errors, widen the bound."""
        return self.b + self.c


def p_value(counts: Counts, epsilon: float, alpha: float = 0.05) -> float:
    """Exact p-value of H0: drop >= `epsilon`, from the test that is tuned for, and belongs to, level `alpha`.

    >>> round(p_value(Counts(n=5000, b=136, c=114), epsilon=0.01), 3)
    0.042
    """
    if not -1 < epsilon < 1:
        raise ValueError(f"epsilon must be a drop in (-1, 1), got {epsilon}; half a point is 0.005")
    _check_alpha(alpha)
    return _supremum(counts, epsilon, _score_limit(counts, alpha), gamma=alpha / 100)


def upper_bound(counts: Counts, alpha: float) -> float:
    """Upper confidence bound of the true drop at level `alpha`, a fraction, rounded up by at most 1e-6.

    The true drop is below it with probability 1 - alpha at least, whatever the true flip rates. It is
    negative when the compressed network is provably better, and 1 when nothing is proven.

    >>> 0.0096 < upper_bound(Counts(n=5000, b=136, c=114), alpha=0.05) < 0.0097
    True
    """
    _check_alpha(alpha)
    anchor = _score_limit(counts, alpha)

    def excess(epsilon: float) -> float:
        return _supremum(counts, epsilon, anchor, gamma=alpha / 100) - alpha

    step = max(0.05 * (anchor - counts.drop), 0.1 / counts.n)
    low = high = anchor
    while excess(high) > 0:
        if high == 1 - _EDGE:
            return 1.0
        low, high, step = high, min(high + step, 1 - _EDGE), 2 * step
    while excess(low) <= 0:
        if low == -1 + _EDGE:
            return low
        low, high, step = max(low - step, -1 + _EDGE), low, 2 * step
    return root(excess, low, high, RESOLUTION)[1]


def _score(b: Floats, c: Floats, n: int, epsilon: float) -> Floats:
    """Tango's T, element by element; it rises in `b`, falls in `c` and in `epsilon`."""
    B = (2 * n - b + c) * epsilon - b - c
    C = -c * epsilon * (1 - epsilon)
    q = (np.sqrt(np.maximum(B * B - 8 * n * C, 0)) - B) / (4 * n)
    q = np.clip(q, max(0.0, -epsilon), (1 - epsilon) / 2)  # against rounding; the formula stays inside
    excess, variance = b - c - n * epsilon, n * (2 * q + epsilon * (1 - epsilon))
    # No variance only at epsilon = 0 without flips: no evidence either way.
    return np.divide(excess, np.sqrt(variance), out=np.zeros_like(variance), where=variance > 0)


def _score_limit(counts: Counts, alpha: float) -> float:
    """L: where Tango's T falls through -z(1 - alpha); kept `_EDGE` away from -1 and 1."""
    b, c, z = np.array([counts.b], float), np.array([counts.c], float), -NormalDist().inv_cdf(alpha)

    def above(epsilon: float) -> float:
        return float(_score(b, c, counts.n, epsilon)[0]) + z

    low, high = -1 + _EDGE, 1 - _EDGE
    if above(high) >= 0:
        return high
    return low if above(low) <= 0 else root(above, low, high, 1e-12)[0]


def _largest_b(m: Ints, counts: Counts, anchor: float) -> Ints:
    """k(m): the largest b' with T(b', m - b') <= T(b, c) at epsilon = `anchor`, or -1. (M,) -> (M,)"""
    b, c = np.array([counts.b], float), np.array([counts.c], float)
    observed = float(_score(b, c, counts.n, anchor)[0])
    observed += 1e-9 * max(1.0, abs(observed))  # ties, the observed outcome above all, belong to the tail
    low, high = np.full_like(m, -1), m.copy()
    while np.any(low < high):
        middle = (low + high + 1) // 2
        inside = _score(middle.astype(float), (m - middle).astype(float), counts.n, anchor) <= observed
        low, high = np.where(inside, middle, low), np.where(inside, high, middle - 1)
    # The score rises in b' and falls in c', so k rises by 0 or 1; where rounding breaks that, the tail is made larger.
    low = np.maximum.accumulate(low)
    return np.maximum.accumulate((low - m)[::-1])[::-1] + m


def _supremum(counts: Counts, epsilon: float, anchor: float, gamma: float) -> float:
    """gamma + sup of P(T(b', c'; anchor) <= T(b, c; anchor)) over p01 = q, p10 = q + epsilon; never below it.

    With the observed L as `anchor`, the event is L(b', c') <= L(b, c). P is summed over m = b' + c'.

    The supremum is bounded from a grid. Let W = (1 - |epsilon|) / 2 and x = sin^2(t), so that the three
    probabilities are W x, W x + |epsilon| and 2 W (1 - x), for t in [0, pi/2]. With S the derivative in t of
    the log probability of an outcome, d^2 P / dt^2 = E[1(event) (S^2 + S')]. As the mean of S^2 + S' is zero,
    this is at most E|S^2 + S'| / 2 <= E[S^2] + E[max(S', 0)] <= 8 n W + 2 n W = 10 n W in absolute value, so
    between two points at distance h, P exceeds the larger of its values there by at most 10 n W h^2 / 8.
    """
    n, c = counts.n, counts.c
    lowest, width = max(0.0, -epsilon), (1 - abs(epsilon)) / 2
    lower, upper = clopper_pearson(c, n, gamma)
    ends = np.arcsin(np.sqrt(np.clip((np.array([lower, upper]) - lowest) / width, 0, 1)))
    x = np.sin(np.linspace(ends[0], ends[1], _POINTS)) ** 2
    slack = 1.25 * n * width * ((ends[1] - ends[0]) / (_POINTS - 1)) ** 2

    p10, p01 = width * x + max(epsilon, 0.0), width * x + lowest
    flip = np.minimum(p10 + p01, 1)  # (Q,)
    # Which way a flip goes, (Q,); without flips it does not matter.
    worse = np.divide(p10, p10 + p01, out=np.full_like(flip, 0.5), where=flip > 0)
    first, last = likely(n, float(flip[0]), float(flip[-1]))
    m = np.arange(first, last + 1)  # (M,)
    below = at_most(_largest_b(m, counts, anchor), worse, first)  # (Q, M)
    P = (binomial(m, n, flip[:, None]) * below).sum(axis=1)
    return float(min(1.0, gamma + P.max() + slack + 4 * TAIL + ERROR))  # TAIL: at either end of m and of `below`


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha <= 0.5:
        raise ValueError(f"alpha must be in (0, 0.5], got {alpha}; 95 % confidence is 0.05")
