# SPDX-License-Identifier: Apache-2.0
"""The bound of a delivered candidate must hold although it was chosen on the images that bound it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from gossamer.certify import Certificate, certify, level
from gossamer.certify.ledger import fixed_sequence, guaranteed

N, TOLERANCE = 300, 0.05
ALPHA = level(0.95)

# True drops: so many images turn wrong, none right, independently of the other candidates.
ALWAYS, HALF, NEVER = 0.01185, 0.0231, 1.0  # how often each is proven; the bounds of 0 and 2 wrong are just below


@cache
def made(b: int) -> Certificate:
    right = np.ones((2, N), np.bool_)
    right[1, :b] = False
    return certify(right[0], right[1], TOLERANCE, 0.95, data_sha256="d" * 64, payload_sha256="a" * 64)


@cache
def outcomes(drop: float) -> list[tuple[int, float]]:
    """Every number of images turned wrong that is not all but impossible, and its probability."""
    chances = binom.pmf(np.arange(N + 1), N, drop)
    return [(b, float(chances[b])) for b in np.flatnonzero(chances > 1e-7)]


def simulated(*drops: float) -> dict[str, float]:
    """Over all outcomes: how often each candidate is delivered, and how often its drop is above what was said."""
    chance = dict.fromkeys([*map(str, range(len(drops))), "guaranteed", "own bound"], 0.0)
    for drawn in product(*map(outcomes, drops)):
        certificates, delivered = fixed_sequence(
            list(map(str, range(len(drops)))), lambda name, drawn=drawn: made(int(drawn[int(name)][0]))
        )
        if delivered is not None:
            probability, truth = math.prod(p for _, p in drawn), drops[int(delivered)]
            chance[delivered] += probability
            chance["guaranteed"] += probability * (certificates[int(delivered)].guaranteed < truth)
            chance["own bound"] += probability * (certificates[int(delivered)].bound < truth)
    return chance


def test_after_a_failure_the_own_bound_breaks_the_level_and_what_is_guaranteed_does_not() -> None:
    found = simulated(ALWAYS, HALF, NEVER)
    assert found["0"] + found["1"] > 0.96
    assert 0.4 < found["1"] < 0.6
    assert found["own bound"] > 1.2 * ALPHA
    assert found["guaranteed"] <= ALPHA


@pytest.mark.parametrize("drops", [(ALWAYS, ALWAYS), (ALWAYS, HALF), (HALF, HALF), (ALWAYS,), (HALF, 0.05)], ids=str)
def test_what_is_guaranteed_keeps_the_level_where_all_may_be_proven(drops: tuple[float, ...]) -> None:
    assert simulated(*drops)["guaranteed"] <= ALPHA


def bounds(*given: tuple[float, bool]) -> Sequence[Certificate]:
    return [replace(made(1), bound=bound, proven=proven) for bound, proven in given]


def test_the_three_cases() -> None:
    assert guaranteed(bounds((0.01, True), (0.03, True), (0.02, True))) == [0.03] * 3
    assert guaranteed(bounds((0.01, True), (0.03, True), (0.08, False))) == [TOLERANCE, TOLERANCE, 0.08]
    assert guaranteed(bounds((0.07, False))) == [0.07]
