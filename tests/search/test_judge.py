# SPDX-License-Identifier: Apache-2.0
"""A candidate passes when the test split would prove it, and only then."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.goal import Goal
from gossamer.search.judge import judge


def answers(n: int, worse: int, better: int) -> tuple[np.ndarray, np.ndarray]:
    """Original and candidate that differ in so many images."""
    original = np.arange(n) % 10 != 0
    candidate = original.copy()
    candidate[np.flatnonzero(original)[:worse]] = False
    candidate[np.flatnonzero(~original)[:better]] = True
    return original, candidate


@pytest.mark.parametrize(("worse", "better", "accepted"), [(100, 100, True), (120, 105, True), (160, 90, False)])
def test_provable_or_not(worse, better, accepted):
    verdict = judge(Goal(0.01), *answers(5000, worse, better), n_test=5000)
    assert verdict.accepted is accepted
    assert verdict.drop == pytest.approx((worse - better) / 5000)
    assert bool(verdict.note) is not accepted


def test_a_later_look_is_judged_more_strictly():
    pair = answers(5000, 120, 103)
    assert judge(Goal(0.01), *pair, n_test=5000, look=1).accepted
    assert not judge(Goal(0.01), *pair, n_test=5000, look=4).accepted


def test_the_observed_limit_refuses_what_could_be_proven():
    verdict = judge(Goal(0.05, observed=0.002), *answers(5000, 120, 105), n_test=5000)
    assert not verdict.accepted
    assert verdict.note == "drop 0.30 points above the 0.20 points wanted"


def test_where_nothing_can_be_proven_the_observed_drop_decides_and_says_so():
    verdict = judge(Goal(0.001), *answers(100, 3, 3), n_test=100)
    assert verdict.accepted
    assert "100 test images cannot prove 0.10 points at any drop" in verdict.note
    assert not judge(Goal(0.001), *answers(100, 5, 1), n_test=100).accepted


def test_with_too_many_flips_the_ladder_goes_down_where_fewer_could_be_proven():
    """400 test images prove 3 points for the uncut network, and of one with 20 % flips nothing at all."""
    many = answers(1000, 100, 100)
    verdict = judge(Goal(0.03), *many, n_test=400, safest_flips=0.0)
    assert not verdict.accepted
    assert verdict.note == (
        "20.0 % of the answers changed: with so many, 400 test images cannot prove 3.00 points at any drop"
    )
    assert judge(Goal(0.03), *answers(1000, 0, 0), n_test=400).accepted
    hopeless = judge(Goal(0.001), *answers(1000, 1, 1), n_test=400, safest_flips=0.0)
    assert hopeless.accepted, "with so few images not even the uncut network is proven: the observed drop decides"
    assert not judge(Goal(0.001), *answers(1000, 9, 1), n_test=400, safest_flips=0.0).accepted


# --- where quality is a number


def graded(n: int, drop: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Qualities of an original and of a candidate that loses so much on the mean."""
    rng = np.random.default_rng(0)
    original = rng.uniform(0.5, 0.9, n)
    changes = rng.uniform(-spread, spread, n)
    return original, original - drop - (changes - changes.mean())


@pytest.mark.parametrize(("drop", "accepted"), [(0.0, True), (0.003, True), (0.009, False), (0.02, False)])
def test_bets_on_the_selection_split_decide(drop, accepted):
    verdict = judge(Goal(0.01), *graded(2000, drop, 0.03), n_test=2000)
    assert verdict.accepted is accepted
    assert verdict.drop == pytest.approx(drop, abs=1e-9)
    assert ("could not be proven below 1.00 points" in verdict.note) is not accepted


def test_with_few_tiles_the_observed_drop_decides_and_says_so():
    verdict = judge(Goal(0.01), *graded(60, 0.004, 0.03), n_test=58)
    assert verdict.accepted
    assert verdict.note == "58 test images cannot prove 1.00 points at any drop"
    assert not judge(Goal(0.01), *graded(60, 0.02, 0.03), n_test=58).accepted


def test_the_observed_limit_counts_for_numbers_too():
    assert not judge(Goal(0.05, observed=0.002), *graded(2000, 0.003, 0.03), n_test=2000).accepted
