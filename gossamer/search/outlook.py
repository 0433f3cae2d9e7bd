# SPDX-License-Identifier: Apache-2.0
"""Outlook: before hours are spent, what will be done, how long it takes, and what the data can prove."""

from __future__ import annotations

from collections.abc import Iterator

from gossamer.certify import provable_drop, smallest_by_bets, smallest_provable
from gossamer.goal import Goal
from gossamer.graph import Network, trace
from gossamer.kinds.classification import Classification
from gossamer.search.pace import RUNGS_HOPED_FOR, epoch_time, epochs_per_rung
from gossamer.search.settings import Settings
from gossamer.task import Task

USUAL_FLIPS = (0.02, 0.05)  # share of images whose answer changes between right and wrong
USUAL_SPREADS = (0.01, 0.05)  # of the change in an image's quality, where that is a number


def provable(task: Task, goal: Goal, look: int = 1) -> list[str]:
    """Sentences on what the test split can prove, worst news first."""
    n = len(task.test)
    if not isinstance(task.of_kind, Classification):  # quality is a number
        return [_by_bets(n, spread, goal, look) for spread in USUAL_SPREADS]
    if goal.fit:
        return [
            f"where {100 * flips:.0f} % of images change, {n:,} test images tell the true drop to within "
            f"{100 * smallest_provable(n, flips, goal.confidence, look=look):.2f} points of the observed one"
            for flips in USUAL_FLIPS
        ]
    lines = []
    for flips in USUAL_FLIPS:
        drop = provable_drop(n, flips, goal.tolerance, goal.confidence, look=look)
        least = smallest_provable(n, flips, goal.confidence, look=look)
        if drop is None:
            lines.append(
                f"warning: where {100 * flips:.0f} % of images change, {n:,} test images cannot prove "
                f"{100 * goal.tolerance:g} points even at no drop; the least they prove is {100 * least:.2f}"
            )
        else:
            lines.append(
                f"where {100 * flips:.0f} % of images change, {n:,} test images prove {100 * goal.tolerance:g} points "
                f"for an observed drop up to {100 * drop:.2f}"
            )
    return lines


def _by_bets(n: int, spread: float, goal: Goal, look: int) -> str:
    least = smallest_by_bets(n, spread, goal.confidence, look=look)
    where = f"where the quality of an image changes by {100 * spread:.0f} points, either way, {n:,} test images"
    if goal.fit:
        return f"{where} tell the true drop to within {100 * least:.2f} points of the observed one"
    if least > goal.tolerance:
        return (
            f"warning: {where} cannot prove {100 * goal.tolerance:g} points even at no drop; the least they prove is "
            f"{100 * least:.2f}"
        )
    return f"{where} prove {100 * least:.2f} points at no drop"


def removable(network: Network) -> str:
    """How much of the network can be cut exactly, and what stays and why."""
    groups = network.groups
    free = [group for group in groups if group.removable and group.exact]
    smallest = {group.name: group.multiple_of for group in free}
    share = 1 - network.parameters_if(smallest) / network.parameters
    reasons = sorted({group.reason for group in groups if group.reason})
    return (
        f"{len(free)} of {len(groups)} channel groups can be cut, with up to {100 * share:.0f} % of the parameters"
        + (f"; the others stay: {'; '.join(reasons)}" if reasons else "")
    )


def about(task: Task, goal: Goal, network: Network, look: int = 1) -> list[str]:
    """What is known at once: the data, the goal, the network, and what the test split can prove."""
    return [
        str(task),
        f"goal: {goal}",
        f"network: {network.parameters:,} parameters, {network.macs:,} multiply-adds",
        removable(network),
        *provable(task, goal, look),
    ]


def training(task: Task, goal: Goal, settings: Settings, network: Network) -> str:
    """How long the search will train, from a few steps in each arithmetic."""
    numerics, epoch_seconds, _ = epoch_time(task, network, goal, settings)
    epochs = epochs_per_rung(goal, settings, epoch_seconds, len(task.train))
    minutes = RUNGS_HOPED_FOR * epochs * epoch_seconds / 60
    return (
        f"training: {numerics}, about {epoch_seconds:.0f} s an epoch, {epochs} epochs a rung; "
        f"{RUNGS_HOPED_FOR} rungs take about {minutes:.0f} min"
    )


def outlook(task: Task, goal: Goal, settings: Settings) -> Iterator[str]:
    """What `--dry-run` prints, line by line as it is known."""
    network = trace(task.model, task.example, freeze=settings.protect)
    yield from about(task, goal, network)
    yield training(task, goal, settings, network)
