# SPDX-License-Identifier: Apache-2.0
"""Ladder: prune as far as the tolerance allows, one rung after the other.

Each rung asks more of the network than the last and starts from what the last accepted one trained. Strides grow by a
rung each time: networks bear three times or thirty times less, and a rung takes hours of training. After a refusal the
rungs between the last accepted and the refused one are halved; where none is left there is one attempt between the two.
The climb ends then, or when the next rung no longer fits into the time. Every accepted rung is a finished file, so the
best network so far is always there.

Where the recipe says so, a rung that was refused for little, `NEARLY`, is asked once more, of the network that it has
trained: half of its epochs went by while channels or bits were given away, and another cycle of training wins back a
point or so. As long as each cycle takes a third of what is too much, or more, another one follows. Where a gentler
rung can give back what a harder one took (`gives_back`: bits it can, channels it cannot), it starts from that network
as long as nothing else holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from gossamer.goal import Goal
from gossamer.search.candidate import Candidate
from gossamer.search.run import Run
from gossamer.tuning.loop import Diverged


class Rung(Protocol):
    """One demand on the network."""

    @property
    def name(self) -> str:
        """What is asked, in a word or two; unique on its ladder."""
        ...


NEARLY = 0.015  # of quality beyond what may be lost
GAIN = 2 / 3  # of what was too much, what may be left of it where a third training is to follow a second
AGAIN = ", again"  # at the end of a name
R = TypeVar("R", bound=Rung)
Attempt = Callable[[int, R, Candidate | None, int], Sequence[Candidate]]
"""(number of the step, what is asked, where to start from, epochs) -> finished candidates, best last."""


def climb(
    run: Run,
    rungs: Sequence[R],
    attempt: Attempt[R],
    *,
    between: Callable[[R, R], R],
    epochs_for: Callable[[int, str], int],
    first: int = 0,
    steps: int = 0,
    once_more: Callable[[R], R] | None = None,
    gives_back: bool = False,
) -> list[Candidate]:
    """Try `rungs` from number `first` on; returns every candidate in the order tried, refused ones included.

    `epochs_for(n, name)`: how long the n-th attempt, from 1 on, may train; 0 ends the climb. `steps`: how many steps
    of the run there were before, fine grid aside. `once_more` gives a rung another name, under which it is asked again.
    `gives_back`: a gentler rung may start from what was refused for little, as long as nothing is accepted.
    """
    tried: list[Candidate] = []
    good: Candidate | None = None
    close: Candidate | None = None  # refused for little
    low, refused, index, stride, number = -1, len(rungs), first, 1, 1

    def made(rung: R, start: Candidate | None, epochs: int) -> Sequence[Candidate]:
        nonlocal number
        found = attempt(steps + number, rung, start, epochs)
        run.forget_training(run.step_folder(steps + number, rung.name))
        number += 1
        tried.extend(found)
        return found

    while index < len(rungs):
        half_way = index == low
        rung = between(rungs[low], rungs[refused]) if half_way else rungs[index]
        epochs = epochs_for(number, rung.name)
        if epochs == 0:
            break
        try:
            found = made(rung, good or (close if gives_back else None), epochs)
            close = near = nearly(run.goal, found)
            while once_more and near and (epochs := epochs_for(number, once_more(rung).name)):
                rung = once_more(rung)
                found = made(rung, near, epochs)
                close = min(close, nearly(run.goal, found) or close, key=lambda one: one.verdict.drop)
                near = nearly(run.goal, found, GAIN * (near.verdict.drop - run.goal.wanted))
        except Diverged as error:
            run.note(f"rung '{rung.name}' was given up: {error}")
            break
        accepted = [candidate for candidate in found if candidate.verdict.accepted]
        if half_way:
            break
        if accepted:
            good, low = accepted[-1], index
        else:
            refused = index
        if good is None:  # started too high
            index -= 1
            if index < 0:
                break
        elif refused == len(rungs):
            index = min(low + stride, len(rungs) - 1) if low < len(rungs) - 1 else len(rungs)
            stride += 1
        else:
            index = (low + refused) // 2
    return tried


def nearly(goal: Goal, found: Sequence[Candidate], more: float = NEARLY) -> Candidate | None:
    """The refused candidate of a rung that lost least, if that is at most so much `more` than it may, and none holds.

    Those that are not faster than the original do not count: training makes none faster.
    """
    if any(candidate.verdict.accepted for candidate in found):
        return None
    near = [one for one in found if one.verdict.drop <= goal.wanted + more and (one.speedup is None or one.speedup > 1)]
    return min(near, key=lambda one: one.verdict.drop, default=None)
