# SPDX-License-Identifier: Apache-2.0
"""Judge: would this candidate keep the promise? Decided on the selection split, never on test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.certify import Counts, level, p_value, smallest_provable
from gossamer.goal import Goal


@dataclass(frozen=True)
class Verdict:
    """`drop` is observed on the selection split; `note` says in words why a candidate was refused or taken."""

    drop: float
    flips: float
    accepted: bool
    note: str


def judge_fit(
    goal: Goal, original: NDArray[np.bool_], candidate: NDArray[np.bool_], costs: Mapping[str, float | None]
) -> Verdict:
    """Whether a candidate of these costs, by the names of the goal's limits, keeps them; drop as it is."""
    counts = Counts.of(original, candidate)
    times = goal.exceeded(costs)
    note = ", ".join(f"{name} {ratio:.3g} times the limit" for name, ratio in times.items())
    return Verdict(counts.drop, counts.flips / counts.n, not times, note)


def judge(
    goal: Goal,
    original: NDArray[np.bool_],
    candidate: NDArray[np.bool_],
    n_test: int,
    look: int = 1,
    safest_flips: float | None = None,
) -> Verdict:
    """Compare right-or-wrong vectors of the selection split, (N,) each.

    A candidate passes when the test split would prove the tolerance, were its images to answer as the selection
    split did. With too many flips for n_test images it is refused, whatever its drop: one with fewer flips may be
    proven. Only where not even the safest candidate of the run has few enough (`safest_flips`, a share of images;
    None: this is the safest) the observed drop decides. `look` is the number that this run will have among the runs
    on the test split.
    """
    counts = Counts.of(original, candidate)
    drop, flips = counts.drop, counts.flips / counts.n
    if goal.observed is not None and drop > goal.observed:
        return Verdict(drop, flips, False, f"drop {_points(drop)} above the {_points(goal.observed)} wanted")
    expected = Counts(n_test, round(counts.b * n_test / counts.n), round(counts.c * n_test / counts.n))
    if p_value(expected, goal.tolerance) <= level(goal.confidence, look):
        return Verdict(drop, flips, True, "")

    def too_many(share: float) -> bool:
        return smallest_provable(n_test, share, goal.confidence, look=look) > goal.tolerance

    if too_many(flips):
        nothing_can = too_many(flips if safest_flips is None else safest_flips)
        note = f"{n_test:,} test images cannot prove {_points(goal.tolerance)} at any drop"
        if not nothing_can:
            note = f"{100 * flips:.1f} % of the answers changed: with so many, {note}"
        return Verdict(drop, flips, nothing_can and drop <= goal.tolerance, note)
    return Verdict(drop, flips, False, f"drop {_points(drop)} could not be proven below {_points(goal.tolerance)}")


def _points(drop: float) -> str:
    return f"{100 * drop:.2f} points"
