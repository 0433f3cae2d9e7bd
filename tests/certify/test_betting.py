# SPDX-License-Identifier: Apache-2.0
"""The bound for bounded qualities: right where t and bootstrap are wrong, not much wider where they are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.certify import level
from gossamer.certify.betting import Differences, can_prove, expected_p_value, p_value, upper_bound, wager

ALPHA, TRIALS = 0.05, 1500


def rare_losses(rng, n):
    """2 % of the images lose half of their quality."""
    return np.where(rng.random(n) < 0.02, 0.5, 0.0), 0.01


def mostly_gains(rng, n):
    """Most gain a little, few lose all."""
    return np.where(rng.random(n) < 0.01, 1.0, -0.005), 0.01 - 0.99 * 0.005


def small_noise(rng, n):
    """What segmentation networks do: many small changes either way."""
    return rng.uniform(-0.05, 0.07, n), 0.01


@pytest.mark.parametrize("n", [100, 400, 1000])
@pytest.mark.parametrize("losses", [rare_losses, mostly_gains, small_noise], ids=lambda losses: losses.__name__)
def test_the_level_holds(losses, n):
    rng = np.random.default_rng(0)
    wrong = 0
    for trial in range(TRIALS):
        if trial % 100 == 0:
            share = wager(losses(rng, 300)[0], n, ALPHA)
        test, truth = losses(rng, n)
        wrong += upper_bound(test, ALPHA, share) < truth
    assert wrong / TRIALS <= ALPHA + 2.5 * np.sqrt(ALPHA * (1 - ALPHA) / TRIALS)


def test_students_bound_is_wrong_there():
    """Planted: the usual bound says too little too often, so the test above can fail."""
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(TRIALS):
        test, truth = rare_losses(rng, 100)
        wrong += test.mean() + 1.66 * test.std(ddof=1) / 10 < truth
    assert wrong / TRIALS > 2 * ALPHA


def test_it_is_at_most_twice_as_far_from_the_mean_as_students():
    rng = np.random.default_rng(1)
    for losses, most in ((small_noise, 2.0), (rare_losses, 2.2)):
        selection, test = losses(rng, 2000)[0], losses(rng, 2000)[0]
        reach = upper_bound(test, ALPHA, wager(selection, 2000, ALPHA)) - test.mean()
        assert reach < most * 1.645 * test.std() / np.sqrt(2000)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(0.01, 0.99), st.floats(-0.5, 0.99))
def test_bound_and_p_value_say_the_same(test, share, epsilon):
    bound = upper_bound(test, ALPHA, share)
    if share * (1 - epsilon) > 1:
        with pytest.raises(ValueError, match="all could be lost"):
            p_value(test, epsilon, share)
        return
    p = p_value(test, epsilon, share)
    if abs(epsilon - bound) > 1e-5:
        assert (p <= ALPHA) == (bound <= epsilon)


@given(st.lists(st.floats(-1, 0.9), min_size=1, max_size=60), st.floats(0, 0.1))
def test_a_larger_loss_never_lowers_the_bound(test, more):
    share = wager(test, len(test), ALPHA)
    assert upper_bound(np.array(test) + more, ALPHA, share) >= upper_bound(test, ALPHA, share)


def test_nothing_is_proven_by_one_image():
    assert upper_bound([0.0], ALPHA, 0.9) == 1.0


@pytest.mark.parametrize("values", [[], [1.5], [[0.0]], [float("nan")]])
def test_other_than_differences_of_qualities_is_refused(values):
    with pytest.raises(ValueError, match="expected the difference of two qualities between 0 and 1 for each image"):
        upper_bound(values, ALPHA, 0.5)
    with pytest.raises(ValueError, match="expected the difference"):
        wager(values, 10, ALPHA)


def test_what_a_certificate_keeps_is_rounded_against_the_compressed_network():
    kept = Differences.of([0.5, 0.70001, 0.9], [0.5, 0.7, 0.95], 0.5)
    assert kept.steps == (-500, 0, 1)
    assert (kept.n, kept.b, kept.c) == (3, 1, 1)
    assert kept.drop == pytest.approx(-499 / 3 / 10_000)


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=30), st.floats(0.01, 0.9))
def test_rounding_never_makes_the_bound_smaller(values, share):
    kept = Differences.of(np.maximum(values, 0), np.maximum(-np.array(values), 0), share)
    assert kept.upper_bound(ALPHA) >= upper_bound(values, ALPHA, share) - 2e-6
    assert kept.drop >= np.mean(values) - 1e-9


@pytest.mark.parametrize(
    ("steps", "share", "message"),
    [((), 0.5, "at least one"), ((3, 1), 0.5, "ascending"), ((20_000,), 0.5, "from -1 to 1"), ((1,), 0.0, "a wager")],
)
def test_what_cannot_be_kept_is_said(steps, share, message):
    with pytest.raises(ValueError, match=message):
        Differences(steps, share)


def test_qualities_must_be_of_the_same_images():
    with pytest.raises(ValueError, match="expected the qualities of the same images"):
        Differences.of([0.5, 0.5], [0.5], 0.5)


def test_what_is_expected_of_the_test_is_what_the_selection_would_give_as_often():
    rng = np.random.default_rng(0)
    selection = small_noise(rng, 300)[0]
    share = wager(selection, 900, ALPHA)
    assert expected_p_value(selection, 900, 0.02, share) == pytest.approx(p_value(np.tile(selection, 3), 0.02, share))


def test_so_many_images_can_prove_so_much():
    n = 500
    least = next(step / 10_000 for step in range(1, 10_000) if can_prove(n, step / 10_000, ALPHA))
    unchanged = np.zeros(n)
    share = wager(unchanged, n, ALPHA)
    assert upper_bound(unchanged, ALPHA, share) == pytest.approx(least, abs=2e-4)
    assert not can_prove(58, 0.01, ALPHA), "the aerial tiles prove no single point"
    assert not can_prove(235, 0.0145, level(0.95))
    assert can_prove(235, 0.015, level(0.95)), "what docs/detection.md says of 235 images"
