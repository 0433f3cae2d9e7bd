# SPDX-License-Identifier: Apache-2.0
"""The exact test against enumeration: every outcome, its probability, and who would have called it proven."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from gossamer.certify import exact
from gossamer.certify.exact import Counts, p_value, upper_bound

Floats = npt.NDArray[np.float64]


def outcomes(n: int) -> list[tuple[int, int]]:
    return [(b, c) for b in range(n + 1) for c in range(n + 1 - b)]


def probabilities(n: int, p10: float, p01: float, where: list[tuple[int, int]]) -> Floats:
    """Trinomial probability of each outcome."""
    b, c = np.array(where).T
    rest = n - b - c
    ways = special.gammaln(n + 1) - special.gammaln(b + 1) - special.gammaln(c + 1) - special.gammaln(rest + 1)
    logs = special.xlogy(b, p10) + special.xlogy(c, p01) + special.xlogy(rest, max(1 - p10 - p01, 0.0))
    result: Floats = np.exp(ways + logs)
    return result


def wrong_proof_rate(n: int, epsilon: float, proves: Callable[[Counts], bool], largest_p01: float = 1.0) -> float:
    """The largest probability, over p01, of a proof at a true drop of exactly `epsilon`.

    `proves` must be monotone in b. Outcomes with c far beyond `largest_p01` count as wrong proofs, unlooked at.
    """
    last_c = n if largest_p01 == 1 else int(stats.binom.isf(1e-6, n, largest_p01))
    proven: list[tuple[int, int]] = []
    below = -1  # the boundary in b rises with c, roughly: start from the last one
    for c in range(last_c + 1):
        below = min(below, n - c)
        while below >= 0 and not proves(Counts(n, below, c)):
            below -= 1
        while below < n - c and proves(Counts(n, below + 1, c)):
            below += 1
        proven += [(b, c) for b in range(below + 1)]
    if not proven:
        return 0.0
    grid = np.linspace(0, min(largest_p01, (1 - epsilon) / 2), 120)
    return max(float(probabilities(n, q + epsilon, q, proven).sum() + stats.binom.sf(last_c, n, q)) for q in grid)


def tango(n: int, b: int, c: int, epsilon: float) -> float:
    """The score, by the formula of the restricted estimate, one outcome at a time."""
    roots = np.roots([2 * n, (2 * n - b + c) * epsilon - b - c, -c * epsilon * (1 - epsilon)])
    variance = n * (2 * max(roots.real) + epsilon * (1 - epsilon))
    return float((b - c - n * epsilon) / math.sqrt(variance)) if variance else 0.0


def brute_force_p(n: int, b: int, c: int, epsilon: float, alpha: float) -> float:
    """gamma plus the supremum on a fine grid, from the ranks of all outcomes."""
    z = stats.norm.isf(alpha)
    low, high = -1 + 1e-6, 1 - 1e-6
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tango(n, b, c, middle) > -z else (low, middle)
    observed = tango(n, b, c, low)
    tail = [x for x in outcomes(n) if tango(n, *x, low) <= observed + 1e-8]
    gamma = alpha / 100
    first = stats.beta.ppf(gamma / 2, c, n - c + 1) if c else 0.0
    last = stats.beta.isf(gamma / 2, c + 1, n - c) if c < n else 1.0
    lowest, highest = max(0.0, -epsilon), (1 - epsilon) / 2
    grid = np.linspace(np.clip(first, lowest, highest), np.clip(last, lowest, highest), 1500)
    return float(gamma + max(probabilities(n, max(q + epsilon, 0.0), q, tail).sum() for q in grid))


@pytest.mark.parametrize(
    ("b", "c", "epsilon", "alpha"),
    [
        (0, 0, 0.3, 0.05),
        (1, 3, 0.2, 0.05),
        (2, 1, 0.55, 0.05),
        (0, 6, 0.05, 0.05),
        (1, 7, -0.1, 0.05),
        (4, 4, 0.4, 0.01),
        (0, 9, -0.5, 0.2),
        (9, 0, 0.95, 0.05),
        (3, 0, 0.6, 0.0304),
    ],
)
def test_p_value_matches_brute_force(b: int, c: int, epsilon: float, alpha: float) -> None:
    expected = min(1.0, brute_force_p(9, b, c, epsilon, alpha))
    found = p_value(Counts(9, b, c), epsilon, alpha)
    assert expected - 1e-6 <= found <= expected + 1e-3


@given(st.integers(1, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_score_uses_the_restricted_maximum_likelihood_estimate(n: int, data: st.DataObject) -> None:
    b = data.draw(st.integers(0, n))
    c = data.draw(st.integers(0, n - b))
    epsilon = data.draw(st.floats(-0.9, 0.9).filter(lambda e: abs(e) > 1e-3))
    q = np.linspace(max(0.0, -epsilon), (1 - epsilon) / 2, 20_001)
    likelihood = (
        special.xlogy(b, np.maximum(q + epsilon, 0))
        + special.xlogy(c, q)
        + special.xlogy(n - b - c, np.maximum(1 - 2 * q - epsilon, 0))
    )
    variance = n * (2 * q[np.argmax(likelihood)] + epsilon * (1 - epsilon))
    score = exact._score(np.array([float(b)]), np.array([float(c)]), n, epsilon)[0]
    assert score**2 * variance == pytest.approx((b - c - n * epsilon) ** 2, rel=0.02, abs=1e-2)


@pytest.mark.parametrize("n", [7, 30])
def test_the_ranking_rises_in_b_and_falls_in_c_and_epsilon(n: int) -> None:
    # What makes delta = epsilon the worst case, and the order the same for every epsilon.
    every = np.array(outcomes(n), float)
    last = np.full(len(every), np.inf)
    for epsilon in np.linspace(-0.999, 0.999, 223):
        score = exact._score(every[:, 0], every[:, 1], n, float(epsilon))
        table = np.full((n + 1, n + 1), np.nan)
        table[tuple(every.astype(int).T)] = score
        inside = ~np.isnan(table)
        assert np.all(np.diff(table, axis=0)[inside[1:]] > 0)
        assert np.all(np.diff(table, axis=1)[inside[:, 1:]] < 0)
        assert np.all(score < last)
        last = score


@pytest.mark.parametrize(
    ("n", "epsilon", "alpha", "largest_p01", "at_least"),
    [
        (20, 0.1, 0.05, 1.0, 0.02),
        (20, 0.3, 0.05, 1.0, 0.03),
        (20, 0.0, 0.05, 1.0, 0.02),
        (50, 0.05, 0.05, 0.3, 0.03),
        (50, 0.1, 0.0304, 0.3, 0.015),
        (100, 0.03, 0.05, 0.12, 0.04),
        (300, 0.02, 0.05, 0.04, 0.038),
    ],
)
def test_wrong_proofs_stay_below_the_level(
    n: int, epsilon: float, alpha: float, largest_p01: float, at_least: float
) -> None:
    rate = wrong_proof_rate(n, epsilon, lambda x: p_value(x, epsilon, alpha) <= alpha, largest_p01)
    assert at_least <= rate <= alpha  # and the level is used, not wasted


def test_every_level_of_the_p_value_holds() -> None:
    n, epsilon = 20, 0.15
    every = outcomes(n)
    p = np.array([p_value(Counts(n, *x), epsilon) for x in every])
    for q in np.linspace(0, (1 - epsilon) / 2, 60):
        probability = probabilities(n, q + epsilon, q, every)
        for threshold in (0.01, 0.05, 0.2, 0.5):
            assert probability[p <= threshold].sum() <= threshold


def test_the_bound_covers_every_true_drop() -> None:
    n, alpha = 12, 0.05
    every = outcomes(n)
    bound = np.array([upper_bound(Counts(n, *x), alpha) for x in every])
    for drop in np.linspace(-0.9, 0.95, 38):
        for q in np.linspace(max(0.0, -drop), (1 - drop) / 2, 40):
            missed = probabilities(n, max(q + drop, 0.0), q, every)[bound <= drop].sum()
            assert missed <= alpha, (drop, q)


def wald(counts: Counts, epsilon: float) -> bool:
    n = counts.n
    deviation = math.sqrt(max(counts.flips / n - counts.drop**2, 0) / n)
    return counts.drop + 1.645 * deviation < epsilon


def flips_as_if_fixed(counts: Counts, epsilon: float) -> bool:
    """McNemar's conditioning, bent to test a difference: b ~ Bin(b + c, 1/2 + n epsilon / 2 (b + c))."""
    m = counts.flips
    return bool(m > 0 and stats.binom.cdf(counts.b, m, min(1.0, 0.5 + counts.n * epsilon / (2 * m))) <= 0.05)


def mcnemar(counts: Counts, epsilon: float) -> bool:
    """ "No significant difference" taken as a proof; it never looks at epsilon."""
    return bool(counts.flips == 0 or stats.binom.sf(counts.b - 1, counts.flips, 0.5) > 0.05)


@pytest.mark.parametrize(("shortcut", "at_least"), [(wald, 0.19), (flips_as_if_fixed, 0.1), (mcnemar, 0.5)])
def test_the_shortcuts_fail_where_ours_holds(shortcut: Callable[[Counts, float], bool], at_least: float) -> None:
    n, epsilon = 100, 0.03  # ours holds here: it is a row of test_wrong_proofs_stay_below_the_level
    proven = [x for x in outcomes(n) if shortcut(Counts(n, *x), epsilon)]
    rates = [probabilities(n, q + epsilon, q, proven).sum() for q in np.linspace(0, 0.1, 60)]
    assert max(rates) >= at_least


@st.composite
def counts_and_room(draw: st.DrawFn) -> Counts:
    n = draw(st.integers(2, 200))
    b = draw(st.integers(0, n - 1))
    return Counts(n, b, draw(st.integers(0, n - b - 1)))


@given(counts_and_room(), st.floats(-0.9, 0.9), st.floats(0, 0.5), st.sampled_from([0.05, 0.0304, 0.0012]))
@settings(max_examples=50, deadline=None)
def test_p_rises_in_b_and_falls_in_epsilon(counts: Counts, epsilon: float, more: float, alpha: float) -> None:
    p = p_value(counts, epsilon, alpha)
    assert alpha / 100 <= p <= 1
    slack = 5e-4  # of the grid over p01, which differs between two calls
    assert p_value(Counts(counts.n, counts.b + 1, counts.c), epsilon, alpha) >= p - slack
    assert p_value(counts, min(epsilon + more, 0.999), alpha) <= p + slack


@given(counts_and_room())
@settings(max_examples=15, deadline=None)
def test_the_bound_rises_in_b_and_falls_in_c(counts: Counts) -> None:
    bound = upper_bound(counts, 0.05)
    assert counts.drop < bound <= 1
    assert upper_bound(Counts(counts.n, counts.b + 1, counts.c), 0.05) >= bound - 3e-6
    assert upper_bound(Counts(counts.n, counts.b, counts.c + 1), 0.05) <= bound + 1e-4


@given(counts_and_room(), st.sampled_from([0.05, 0.0304, 0.0012]))
@settings(max_examples=25, deadline=None)
def test_p_crosses_alpha_at_the_bound(counts: Counts, alpha: float) -> None:
    bound = upper_bound(counts, alpha)
    if -0.999 < bound < 0.999:
        assert p_value(counts, bound, alpha) <= alpha < p_value(counts, bound - 3e-6, alpha)


@cache
def fine_supremum(n: int, b: int, c: int, epsilon: float) -> float:
    points = exact._POINTS
    exact._POINTS = 20_001
    try:
        return p_value(Counts(n, b, c), epsilon)
    finally:
        exact._POINTS = points


@pytest.mark.parametrize("points", [3, 10, 400])
@pytest.mark.parametrize(
    ("n", "b", "c", "epsilon"),
    [(30, 2, 3, 0.1), (100, 3, 0, 0.07), (40, 0, 12, -0.2), (25, 0, 0, 0.1), (200, 20, 25, 0.02)],
)
def test_a_coarse_grid_never_misses_the_supremum(
    points: int, n: int, b: int, c: int, epsilon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = fine_supremum(n, b, c, epsilon)
    monkeypatch.setattr(exact, "_POINTS", points)
    found = p_value(Counts(n, b, c), epsilon)
    assert found >= fine - 1e-6
    if points == 400:
        assert found <= fine + 3e-4


def test_counts_of_two_bool_vectors() -> None:
    original = np.array([1, 1, 1, 0, 0, 1], bool)
    compressed = np.array([1, 0, 0, 1, 0, 1], bool)
    counts = Counts.of(original, compressed)
    assert counts == Counts(n=6, b=2, c=1)
    assert (counts.drop, counts.flips) == (1 / 6, 3)


@pytest.mark.parametrize("n", [1, 5, 5000])
def test_all_flips_for_the_worse_prove_nothing(n: int) -> None:
    assert upper_bound(Counts(n, n, 0), 0.05) == 1.0
    assert p_value(Counts(n, n, 0), 0.99) == 1.0


def test_all_flips_for_the_better_prove_an_improvement() -> None:
    assert upper_bound(Counts(5000, 0, 5000), 0.05) < -0.99


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_no_flips_prove_what_the_binomial_proves(n: int) -> None:
    # Without flips the tail is "no image turned wrong", whose probability (1 - drop)^n is largest at p01 = 0
    # up to those that turn right: at n = 1 the bound is 0.95 exactly.
    bound = upper_bound(Counts(n, 0, 0), 0.05)
    assert 1 - 0.05 ** (1 / n) < bound <= 1 - (0.05 - 0.0006) ** (1 / n) + 2e-6


def test_no_flips_say_nothing_about_no_drop() -> None:
    assert p_value(Counts(100, 0, 0), 0.0) == 1.0
    for epsilon in (1e-12, 1e-308, -1e-12, -1e-308, 5e-324):
        assert p_value(Counts(100, 0, 0), epsilon) == pytest.approx(1.0)


@pytest.mark.parametrize("epsilon", [-1 + 1e-15, -1e-300, 0.0, 1e-308, 1 - 1e-15])
@pytest.mark.parametrize(("n", "b", "c"), [(1, 0, 0), (1, 1, 0), (1, 0, 1), (2, 1, 1), (3000, 0, 3000), (3000, 1, 0)])
def test_the_edges_of_epsilon_give_probabilities(n: int, b: int, c: int, epsilon: float) -> None:
    p = p_value(Counts(n, b, c), epsilon)
    assert 0.0005 <= p <= 1
    assert p == 1 or epsilon > -0.9


def test_invalid_counts_are_refused() -> None:
    for n, b, c in ((0, 0, 0), (10, -1, 2), (10, 3, -1), (10, 6, 5)):
        with pytest.raises(ValueError, match=rf"b \+ c <= n, got n={n}, b={b}, c={c}; count every"):
            Counts(n, b, c)


def test_a_number_of_images_that_would_take_all_memory_is_refused():
    assert 0 < upper_bound(Counts(1_000_000, 250_000, 250_000), 0.05) < 0.002
    with pytest.raises(ValueError, match="counts are of at most 1,000,000 images, got 1,000,000,000,000; test on"):
        Counts(10**12, 0, 0)


def test_vectors_that_are_not_bool_are_refused() -> None:
    right = np.ones(4, bool)
    with pytest.raises(ValueError, match=r"compressed_right must be a bool vector.*got int64 of shape \(4,\)"):
        Counts.of(right, np.ones(4, np.int64))
    with pytest.raises(ValueError, match=r"original_right must be a bool vector.*got bool of shape \(2, 2\)"):
        Counts.of(right.reshape(2, 2), right)


def test_vectors_of_other_lengths_are_refused() -> None:
    for lengths in ((4, 5), (0, 0)):
        with pytest.raises(ValueError, match=rf"the same images, at least one, got {lengths[0]} and {lengths[1]}"):
            Counts.of(np.ones(lengths[0], bool), np.ones(lengths[1], bool))


@pytest.mark.parametrize("epsilon", [-1.0, 1.0, 5.0, math.nan])
def test_impossible_drops_are_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match=rf"epsilon must be a drop in \(-1, 1\), got {epsilon}; half a point"):
        p_value(Counts(10, 1, 1), epsilon)


@pytest.mark.parametrize("alpha", [0.0, 0.6, -0.1, math.nan])
def test_impossible_levels_are_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match=rf"alpha must be in \(0, 0.5\], got {alpha}; 95 % confidence is 0.05"):
        p_value(Counts(10, 1, 1), 0.1, alpha)
    with pytest.raises(ValueError, match=r"alpha must be in \(0, 0.5\]"):
        upper_bound(Counts(10, 1, 1), alpha)
