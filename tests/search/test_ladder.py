# SPDX-License-Identifier: Apache-2.0
"""The climb: up in growing strides, back by halves after a refusal, down when it started too high."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from gossamer.search.ladder import climb
from gossamer.search.watch import Watch
from gossamer.tuning import Diverged


@dataclass(frozen=True)
class Step:
    height: float

    @property
    def name(self):
        return str(self.height)


class FakeRun:
    """A run that has time for so many rungs."""

    def __init__(self, rungs_of_time=99):
        self.rungs_of_time = rungs_of_time
        self.notes, self.forgotten, self.watch = [], [], Watch()

    def epochs_for(self, number, name):
        return 5 if number <= self.rungs_of_time else 0

    def step_folder(self, number, name):
        return number, name

    def forget_training(self, folder):
        self.forgotten.append(folder)

    def note(self, text):
        self.notes.append(text)


def half_way(low, high):
    return Step((low.height + high.height) / 2)


def climb_to(limit, run=None, first=0, diverges_at=None, height=4):
    """Heights tried and their verdicts, and what each started from, when everything up to `limit` is accepted."""
    tried = []

    run = run or FakeRun()

    def attempt(number, rung, previous, epochs):
        assert epochs == 5
        if rung.height == diverges_at:
            raise Diverged("planted")
        tried.append((number, rung.height, previous.height if previous else None))
        return [SimpleNamespace(height=rung.height, verdict=SimpleNamespace(accepted=rung.height <= limit))]

    rungs = [Step(h) for h in range(1, height + 1)]
    found = climb(run, rungs, attempt, between=half_way, epochs_for=run.epochs_for, first=first)
    return tried, [candidate.height for candidate in found if candidate.verdict.accepted]


def test_everything_is_accepted():
    tried, accepted = climb_to(9)
    assert accepted == [1, 2, 4]
    assert tried == [(1, 1, None), (2, 2, 1), (3, 4, 2)]


def test_strides_grow_and_after_a_refusal_the_rest_is_halved():
    tried, accepted = climb_to(12.7, height=20)
    assert [height for _, height, _ in tried] == [1, 2, 4, 7, 11, 16, 13, 12, 12.5]
    assert accepted == [1, 2, 4, 7, 11, 12, 12.5]
    assert [start for *_, start in tried] == [None, 1, 2, 4, 7, 11, 11, 11, 12], "from the last accepted"


def test_after_a_refusal_one_attempt_half_way_from_the_last_accepted():
    tried, accepted = climb_to(2.6)
    assert [height for _, height, _ in tried] == [1, 2, 4, 3, 2.5]
    assert tried[-1] == (5, 2.5, 2)
    assert accepted == [1, 2, 2.5]


def test_started_too_high_it_goes_down_until_something_holds():
    tried, accepted = climb_to(1.6, first=3)
    assert [height for _, height, _ in tried] == [4, 3, 2, 1, 1.5]
    assert accepted == [1, 1.5]
    assert len({height for _, height, _ in tried}) == len(tried), "no rung is tried twice"


def test_when_nothing_holds_it_ends():
    assert climb_to(0, first=1) == ([(1, 2, None), (2, 1, None)], [])


def test_it_stops_when_the_time_is_up():
    tried, _ = climb_to(9, FakeRun(rungs_of_time=2))
    assert [height for _, height, _ in tried] == [1, 2]


def test_divergence_ends_the_climb_with_a_note():
    run = FakeRun()
    _, accepted = climb_to(9, run, diverges_at=4)
    assert accepted == [1, 2]
    assert run.notes == ["rung '4' was given up: planted"]
    assert run.forgotten == [(1, "1"), (2, "2")], "checkpoints of finished rungs only"


@pytest.mark.parametrize("first", [0, 2])
def test_it_always_ends(first):
    for limit in (0, 1, 1.5, 2, 2.5, 3, 3.5, 4):
        tried, accepted = climb_to(limit, first=first)
        assert len(tried) <= 6
        assert max(accepted, default=0) <= limit
