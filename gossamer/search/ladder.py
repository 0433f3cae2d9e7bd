# SPDX-License-Identifier: Apache-2.0
"""Ladder: prune as far as the tolerance allows, one rung after the other.

Each rung asks more of the network than the last and starts from what the last accepted one trained. Strides grow by a
rung each time: networks bear three times or thirty times less, and a rung takes hours of training. After a refusal the
rungs between the last accepted and the refused one are halved; where none is left there is one attempt between the two.
The climb ends then, or when the next rung no longer fits into the time. Every accepted rung is a finished file, so the
best network so far is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from gossamer.search.candidate import Candidate
from gossamer.search.run import Run
from gossamer.tuning.loop import Diverged


class Rung(Protocol):
    """One demand on the network."""

    @property
    def name(self) -> str:
        """What is asked, in a word or two; unique on its ladder."""
        ...


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
) -> list[Candidate]:
    """Try `rungs` from number `first` on; returns every candidate in the order tried, refused ones included.

    `epochs_for(n, name)`: how long the n-th attempt, from 1 on, may train; 0 ends the climb. `steps`: how many steps
    of the run there were before, fine grid aside.
    """
    tried: list[Candidate] = []
    good: Candidate | None = None
    low, refused, index, stride, number = -1, len(rungs), first, 1, 1
    while index < len(rungs):
        half_way = index == low
        rung = between(rungs[low], rungs[refused]) if half_way else rungs[index]
        epochs = epochs_for(number, rung.name)
        if epochs == 0:
            break
        try:
            found = list(attempt(steps + number, rung, good, epochs))
        except Diverged as error:
            run.note(f"rung '{rung.name}' was given up: {error}")
            break
        run.forget_training(run.step_folder(steps + number, rung.name))
        number += 1
        tried += found
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
