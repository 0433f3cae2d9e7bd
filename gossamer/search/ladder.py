# SPDX-License-Identifier: Apache-2.0
"""Ladder: prune as far as the tolerance allows, one rung after the other.

Each rung asks more of the network than the last and starts from what the last one trained. The climb ends at the
first refusal, after one attempt half-way back, or when the next rung no longer fits into the time. Every accepted
rung is a finished file, so the best network so far is always there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, cast

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
    last_good: Candidate | None = None
    low: R | None = None
    ladder, refused, index, number = list(rungs), len(rungs), first, 1
    while index < refused or (index == refused < len(ladder) and low is not None):
        half_way = index == refused
        rung = between(cast("R", low), ladder[index]) if half_way else ladder[index]
        epochs = epochs_for(number, rung.name)
        if epochs == 0:
            break
        try:
            found = list(attempt(steps + number, rung, last_good, epochs))
        except Diverged as error:
            run.note(f"rung '{rung.name}' was given up: {error}")
            break
        run.forget_training(run.step_folder(steps + number, rung.name))
        number += 1
        tried += found
        accepted = [candidate for candidate in found if candidate.verdict.accepted]
        if accepted:
            last_good, low = accepted[-1], rung
        if half_way:
            break
        if accepted:
            index += 1
        else:
            refused = index
            index = index if low is not None else index - 1  # started too high
            if index < 0:
                break
    return tried
