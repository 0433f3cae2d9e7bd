# SPDX-License-Identifier: Apache-2.0
"""Ladder: prune as far as the tolerance allows, one rung after the other.

Each rung asks more of the network than the last and starts from what the last accepted one trained. Strides grow by a
rung each time: networks bear three times or thirty times less, and a rung takes hours of training. After a refusal the
rungs between the last accepted and the refused one are halved; where none is left there is one attempt between the two.
Every accepted rung is a finished file, so the best network so far is always there.

Where the recipe says so, a rung that was refused for little, `NEARLY`, is asked once more, of the network that it has
trained: half of its epochs went by while channels or bits were given away, and another cycle of training wins back a
point or so. As long as each cycle takes a third of what is too much, or more, another one follows. Where a gentler
rung can give back what a harder one took (`gives_back`: bits it can, channels it cannot), it starts from that network
as long as nothing else holds.

The climb ends when the next rung no longer fits into the time. Where hours are left and nobody told how long to train,
such a recipe goes on after the last attempt: the gentlest of what was refused is asked again, with twice the epochs;
what holds makes way for the next harder one, and what is refused again is asked with twice as many still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from gossamer.goal import Goal
from gossamer.search.candidate import Candidate
from gossamer.search.pace import Epochs
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
LONGER = 2  # times as many epochs for what was refused
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
    epochs_for: Epochs,
    first: int = 0,
    steps: int = 0,
    once_more: Callable[[R], R] | None = None,
    gives_back: bool = False,
) -> list[Candidate]:
    """Try `rungs` from number `first` on; returns every candidate in the order tried, refused ones included.

    `epochs_for`: how long each attempt may train; 0 ends the climb. `steps`: how many steps of the run there were
    before, fine grid aside. `once_more` gives a rung another name, under which it is asked again. `gives_back`: a
    gentler rung may start from what was refused for little, as long as nothing is accepted.
    """
    climbing = _Climb(run, attempt, epochs_for, steps, once_more)
    try:
        beyond = _up(climbing, rungs, between, first, gives_back=gives_back)
        if once_more and run.goal.hours is not None and run.settings.epochs is None:
            _on(climbing, beyond)
    except Diverged as error:
        run.note(f"rung '{climbing.asked}' was given up: {error}")
    except _OutOfTime:
        pass
    climbing.abandon_what_led_nowhere()
    return climbing.tried


class _OutOfTime(Exception):
    """The next attempt does not fit into the time."""


@dataclass
class _Refused(Generic[R]):
    """What is too hard, as it would be asked next; `near`: the network that was refused for little."""

    rung: R
    near: Candidate | None = None


def _up(
    climbing: _Climb[R], rungs: Sequence[R], between: Callable[[R, R], R], first: int, *, gives_back: bool
) -> list[_Refused[R]]:
    """Up in growing strides, back by halves; what was refused or never asked, the gentlest last."""
    low, refused, index, stride = -1, len(rungs), first, 1
    beyond: list[_Refused[R]] = []
    while index < len(rungs):
        half_way = index == low
        rung = between(rungs[low], rungs[refused]) if half_way else rungs[index]
        start = climbing.good or (beyond[-1].near if gives_back and beyond else None)
        missed = climbing.ask(rung, start)
        if missed:
            if not beyond:
                beyond = [_Refused(harder) for harder in reversed(rungs[index + 1 :])]
            beyond.append(missed)
        if half_way:
            break
        if not missed:
            low = index
        else:
            refused = index
        if climbing.good is None:  # started too high
            index -= 1
            if index < 0:
                break
        elif refused == len(rungs):
            index = min(low + stride, len(rungs) - 1) if low < len(rungs) - 1 else len(rungs)
            stride += 1
        else:
            index = (low + refused) // 2
    return beyond


def _on(climbing: _Climb[R], beyond: list[_Refused[R]]) -> None:
    """Longer trainings, as long as there is time for them."""
    times = LONGER
    while beyond:
        gentlest = beyond.pop()
        if missed := climbing.ask(gentlest.rung, gentlest.near or climbing.good, times):
            beyond.append(missed)
            times *= LONGER


@dataclass
class _Climb(Generic[R]):
    """What was tried: every candidate, the last that was accepted, and from what each attempt started."""

    run: Run
    attempt: Attempt[R]
    epochs_for: Epochs
    steps: int
    once_more: Callable[[R], R] | None
    tried: list[Candidate] = field(default_factory=list)
    good: Candidate | None = None
    asked: str = ""
    attempts: list[tuple[Path, Candidate | None, Sequence[Candidate]]] = field(default_factory=list)

    def ask(self, rung: R, start: Candidate | None, times: int = 1) -> _Refused[R] | None:
        """Ask a rung, and once more as long as that helps; None where it holds, then it is `good`."""
        epochs = self._epochs(rung, times)
        if not epochs:
            raise _OutOfTime
        goal = self.run.goal
        found = self._make(rung, start, epochs)
        close = near = nearly(goal, found)
        while self.once_more and near and (epochs := self._epochs(self.once_more(rung), times)):
            rung = self.once_more(rung)
            found = self._make(rung, near, epochs)
            close = min(nearly(goal, found) or near, close or near, key=lambda one: one.verdict.drop)
            too_much = near.verdict.drop - goal.wanted  # none where it was refused for other reasons, as for its flips
            near = nearly(goal, found, GAIN * too_much) if too_much > 0 else None
        accepted = [candidate for candidate in found if candidate.verdict.accepted]
        if not accepted:
            return _Refused(self.once_more(rung) if self.once_more else rung, close)
        self.good = accepted[-1]
        return None

    def _epochs(self, rung: R, times: int) -> int:
        return self.epochs_for(len(self.attempts) + 1, rung.name, times)

    def _make(self, rung: R, start: Candidate | None, epochs: int) -> Sequence[Candidate]:
        number, self.asked = self.steps + len(self.attempts) + 1, rung.name
        found = self.attempt(number, rung, start, epochs)
        folder = self.run.step_folder(number, rung.name)
        self.run.forget_training(folder)
        self.attempts.append((folder, start, found))
        self.tried.extend(found)
        return found

    def abandon_what_led_nowhere(self) -> None:
        """Attempts that nothing accepted started from are not owed to a dense control."""
        led = [candidate for candidate in self.tried if candidate.verdict.accepted]
        for folder, start, found in reversed(self.attempts):
            if not any(one in led for one in found):
                self.run.abandon(folder)
            elif start:
                led.append(start)


def nearly(goal: Goal, found: Sequence[Candidate], more: float = NEARLY) -> Candidate | None:
    """The refused candidate of a rung that lost least, if that is at most so much `more` than it may, and none holds.

    Those that are not faster than the original do not count: training makes none faster.
    """
    if any(candidate.verdict.accepted for candidate in found):
        return None
    near = [one for one in found if one.verdict.drop <= goal.wanted + more and (one.speedup is None or one.speedup > 1)]
    return min(near, key=lambda one: one.verdict.drop, default=None)
