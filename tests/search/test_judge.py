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
