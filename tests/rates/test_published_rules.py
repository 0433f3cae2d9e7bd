# SPDX-License-Identifier: Apache-2.0
"""Rules of the papers: their formulas by hand, and the behaviour that they are for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gossamer.measure.entropy import entropy
from gossamer.rates import ErrorTolerance, HarmonicMean, InformationRichness, LayerEntropy

# --- entropy ------------------------------------------------------------------------


def test_entropy_by_hand():
    """0, 1, ..., 10: ten bins of one each; the largest, as in the published code, lies in none."""
    assert entropy(np.arange(11.0)) == pytest.approx(-10 / 11 * math.log(1 / 11))
    assert entropy(np.full(9, 3.0)) == 0
    assert entropy(np.array([0.0, 0, 0, 1])) == pytest.approx(-0.75 * math.log(0.75))


def test_entropy_knows_no_scale_and_no_sign():
    weights = np.random.default_rng(0).standard_normal((8, 4, 3, 3)).astype(np.float32)
    assert entropy(100 * weights) == pytest.approx(entropy(weights), rel=1e-3)
    assert entropy(-weights) == pytest.approx(entropy(weights), rel=0.05)
    assert 0 < entropy(weights) < math.log(10)


# --- layer entropy ------------------------------------------------------------------------

ENTROPIES = np.array([1.0, 2.0, 1.5])


def test_the_three_relations_by_hand():
    assert LayerEntropy("power").rates(ENTROPIES) == pytest.approx([0.5, 1, 0.75])
    assert LayerEntropy("minmax").rates(ENTROPIES) == pytest.approx([0, 1, 0.5])
    assert LayerEntropy("neighbour").rates(ENTROPIES) == pytest.approx([0.5, 1, 0.75])
    assert LayerEntropy("neighbour").rates(np.array([2.0, 1.0, 1.0])) == pytest.approx([1, 0.5, 1])


def test_heavy_tails_lose_more_filters_than_an_even_spread():
    rng = np.random.default_rng(0)
    filters = {"even": rng.uniform(-1, 1, (32, 90)), "tailed": rng.standard_t(2, (32, 90))}
    counts = LayerEntropy().counts(filters, 0.5)
    assert counts["even"] == 32
    assert counts["tailed"] < 24


# --- information richness ------------------------------------------------------------------------

EVEN = np.full(8, 1.5)
OUTLYING = np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 50.0])


def test_an_outlier_does_not_drag_all_other_rates_down():
    """The behaviour that the box plot is for."""
    rates = InformationRichness(balance=0.0).rates(EVEN, OUTLYING)
    assert rates.max() == rates[-1] == 1
    assert rates[:-1].min() > 0.7, "without the box plot it would be 1/50"


def test_exempt_outliers_stay_whole():
    small = np.array([1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1e-3])
    assert InformationRichness(balance=0.0, outliers="exempt").rates(EVEN, small)[-1] == 1
    assert InformationRichness(balance=0.0).rates(EVEN, small)[-1] < 0.9


def test_richness_by_hand():
    e, n = np.array([1.0, 2.0]), np.array([4.0, 2.0])
    assert InformationRichness(balance=0.25).rates(e, n) == pytest.approx(np.array([0.875, 0.625]) / 0.875)
    assert InformationRichness(fusion="product").rates(e, n) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LayerEntropy("cubic"), r"relation of layer-entropy must be one of power, .*, got 'cubic'"),
        (lambda: InformationRichness(fusion="max"), r"fusion of information-richness must be one of sum, product"),
        (lambda: InformationRichness(balance=2), r"balance of information-richness must be in \[0, 1\], got 2"),
        (lambda: ErrorTolerance(1.0), r"tolerance of error-tolerance must be in \(0, 1\), got 1.0"),
        (lambda: ErrorTolerance(multiple=0), r"multiple of error-tolerance must be at least 1, got 0"),
        (lambda: HarmonicMean("geometric"), r"mean of harmonic-mean must be one of harmonic, .*, got 'geometric'"),
        (lambda: HarmonicMean().choose([], []), r"expected as many qualities as counts, at least one, got 0, 0"),
    ],
)
def test_bad_options_are_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- error tolerance ------------------------------------------------------------------------


def test_error_tolerance_is_used_up_and_never_exceeded():
    """Errors that add up: layer b's filters cost ten times as much as those of a."""
    price = {"a": 0.0005, "b": 0.005}
    scores = {name: np.arange(32.0) for name in price}
    asked = []

    def error(keep):
        asked.append(keep)
        return 0.1 + sum(price[name] * int((~row).sum()) for name, row in keep.items())

    keep = ErrorTolerance(0.02).keep(scores, error)
    assert error(keep) <= 0.12 + 1e-12
    assert (~keep["a"]).sum() == 20, "half of the tolerance, filters of a half-thousandth each"
    assert (~keep["b"]).sum() == 2, "and the other half"
    assert all(not row[: int((~row).sum())].any() for row in keep.values()), "the weakest go first"
    assert len(asked) < 14, "found by bisection"


def test_what_a_layer_leaves_is_carried_on():
    scores = {"free": np.arange(4.0), "dear": np.arange(100.0)}

    def error(keep):
        return 0.001 * int((~keep["dear"]).sum())

    assert (~ErrorTolerance(0.02, floor=0.5).keep(scores, error)["dear"]).sum() == 20


def test_what_stays_is_a_multiple_where_that_is_asked_for():
    """The nearest multiple above what would stay; a layer of which nothing may go keeps all, whatever it has."""
    scores = {"a": np.arange(32.0), "b": np.arange(13.0)}
    price = {"a": 0.0005, "b": 1.0}

    def error(keep):
        return sum(price[name] * int((~row).sum()) for name, row in keep.items())

    kept = {name: int(row.sum()) for name, row in ErrorTolerance(0.02, multiple=8).keep(scores, error).items()}
    assert kept == {"a": 16, "b": 13}, "12 without multiples"
    parts = {"g": np.arange(32) // 16}
    keep = ErrorTolerance(0.5, floor=0.3, multiple=8).keep({"g": np.arange(32.0)}, lambda keep: 0.0, parts)["g"]
    assert list(np.bincount(parts["g"], keep)) == [8, 8]


def test_whole_parts_go_and_a_floor_stays():
    """Equally many of each part, though all weak ones are in the first."""
    parts = {"g": np.arange(16) // 4}
    keep = ErrorTolerance(0.5, floor=0.25).keep({"g": np.arange(16.0)}, lambda keep: 0.0, parts)["g"]
    assert list(np.flatnonzero(keep)) == [3, 7, 11, 15]
    keep = ErrorTolerance(0.5, floor=0.3).keep({"g": np.arange(16.0)}, lambda keep: 0.0, parts)["g"]
    assert list(np.bincount(parts["g"], keep)) == [2, 2, 2, 2]


# --- harmonic mean ------------------------------------------------------------------------

PRUNED, QUALITY = (0, 40, 50, 55, 60), (0.93, 0.92, 0.90, 0.60, 0.10)


def test_the_harmonic_mean_wants_both():
    """Neither the best network, which nothing was pruned from, nor the most pruned, which knows nothing."""
    assert HarmonicMean().choose(PRUNED, QUALITY) == 2


def test_the_other_means():
    assert HarmonicMean("constrained", allowed=0.015).choose(PRUNED, QUALITY, original=0.93) == 1
    assert HarmonicMean("constrained", allowed=0.5).choose(PRUNED, QUALITY, original=0.93) == 3
    assert HarmonicMean("constrained").choose((10, 50), (0.8, 0.2), original=0.93) == 0, "none loses so little"
    assert HarmonicMean("weighted", weight=0.99).choose(PRUNED, QUALITY) == 4
    assert HarmonicMean("weighted", weight=0.01).choose(PRUNED, QUALITY) == 0


def test_a_dominated_pair_is_never_chosen():
    assert HarmonicMean().choose([10, 20, 20], [0.8, 0.8, 0.9]) == 2


def test_of_two_pairs_the_pruned_one_is_chosen():
    """Each is worth nothing by one of the indicators; the first may be a network from which nothing has gone yet."""
    assert HarmonicMean().choose([0, 30], [0.93, 0.90]) == 1


def test_error_tolerance_meets_a_budget_with_the_smallest_tolerance_that_does():
    """Each channel costs its worth in error and 1 of the budget; nothing is asked twice."""
    worth = {"cheap": np.linspace(0.001, 0.01, 10), "dear": np.linspace(0.01, 0.1, 10)}
    asked = []

    def error(keep):
        asked.append(tuple(row.tobytes() for row in keep.values()))
        return sum(float(worth[name][~row].sum()) for name, row in keep.items())

    keep = ErrorTolerance(0.001).keep_within(worth, error, lambda counts: sum(counts.values()), 12)
    count = sum(int(row.sum()) for row in keep.values())
    assert count == 12
    assert len(asked) == len(set(asked))
    assert (~keep["cheap"]).sum() > (~keep["dear"]).sum()
    wide = ErrorTolerance(0.01).keep_within(worth, error, lambda counts: sum(counts.values()), 20)
    assert sum(int(row.sum()) for row in wide.values()) == sum(
        int(row.sum()) for row in ErrorTolerance(0.01).keep(worth, error).values()
    ), "no more goes than the rule's own tolerance allows, where that is enough"
    least = ErrorTolerance(0.001, floor=0.5).keep_within(worth, error, lambda counts: sum(counts.values()), 3)
    assert sum(int(row.sum()) for row in least.values()) == 10, "the least that can be left"
