# SPDX-License-Identifier: Apache-2.0
"""Judge: would this candidate keep the promise? Decided on the selection split, never on test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.certify import Counts, level, p_value, smallest_provable
from gossamer.certify.betting import can_prove, difference, expected_p_value, wager
from gossamer.goal import Goal
from gossamer.kinds import Quality


@dataclass(frozen=True)
class Verdict:
    """`drop` is observed on the selection split; `note` says in words why a candidate was refused or taken.

    `provable`: whether the test split could prove anything; accepted without that, the observed drop has decided.
    """

    drop: float
    flips: float
    accepted: bool
    note: str
    provable: bool = True


def judge_fit(goal: Goal, original: Quality, candidate: Quality, costs: Mapping[str, float | None]) -> Verdict:
    """Whether a candidate of these costs, by the names of the goal's limits, keeps them; drop as it is."""
    times = goal.exceeded(costs)
    note = ", ".join(f"{name} {ratio:.3g} times the limit" for name, ratio in times.items())
    return Verdict(observed_drop(original, candidate), _flips(original, candidate), not times, note)


def judge(
    goal: Goal,
    original: Quality,
    candidate: Quality,
    n_test: int,
    look: int = 1,
    safest_flips: float | None = None,
) -> Verdict:
    """Compare the qualities of both networks on the selection split, (N,) each.

    A candidate passes when the test split would prove the tolerance, were its images to answer as the selection
    split did. With too many flips for n_test images it is refused, whatever its drop: one with fewer flips may be
    proven. Only where not even the safest candidate of the run has few enough (`safest_flips`, a share of images;
    None: this is the safest) the observed drop decides. `look` is the number that this run will have among the runs
    on the test split.
    """
    drop, flips = observed_drop(original, candidate), _flips(original, candidate)
    if goal.observed is not None and drop > goal.observed:
        return Verdict(drop, flips, False, f"drop {_points(drop)} above the {_points(goal.observed)} wanted")
    alpha = level(goal.confidence, look)
    if original.dtype != np.bool_:
        return _by_bets(goal, difference(original, candidate), flips, n_test, alpha)
    counts = Counts.of(original, candidate)
    expected = Counts(n_test, round(counts.b * n_test / counts.n), round(counts.c * n_test / counts.n))
    if p_value(expected, goal.tolerance) <= alpha:
        return Verdict(drop, flips, True, "")

    def too_many(share: float) -> bool:
        return smallest_provable(n_test, share, goal.confidence, look=look) > goal.tolerance

    if too_many(flips):
        nothing_can = too_many(flips if safest_flips is None else safest_flips)
        note = f"{n_test:,} test images cannot prove {_points(goal.tolerance)} at any drop"
        if not nothing_can:
            note = f"{100 * flips:.1f} % of the answers changed: with so many, {note}"
        return Verdict(drop, flips, nothing_can and drop <= goal.tolerance, note, provable=not nothing_can)
    return Verdict(drop, flips, False, f"drop {_points(drop)} could not be proven below {_points(goal.tolerance)}")


def _by_bets(goal: Goal, differences: NDArray[np.float64], flips: float, n_test: int, alpha: float) -> Verdict:
    """The same where quality is a number: the drop of each image, (N,), goes into the bets of the certificate."""
    drop = float(differences.mean())
    if expected_p_value(differences, n_test, goal.tolerance, wager(differences, n_test, alpha)) <= alpha:
        return Verdict(drop, flips, True, "")
    if not can_prove(n_test, goal.tolerance, alpha):
        note = f"{n_test:,} test images cannot prove {_points(goal.tolerance)} at any drop"
        return Verdict(drop, flips, drop <= goal.tolerance, note, provable=False)
    return Verdict(drop, flips, False, f"drop {_points(drop)} could not be proven below {_points(goal.tolerance)}")


def observed_drop(original: Quality, candidate: Quality) -> float:
    """Mean quality lost; of right or wrong answers a ratio of whole numbers."""
    return float(original.sum() - candidate.sum()) / len(original)


def _flips(original: Quality, candidate: Quality) -> float:
    """The share of images whose quality changed."""
    return float(np.mean(original != candidate))


def _points(drop: float) -> str:
    return f"{100 * drop:.2f} points"
