# SPDX-License-Identifier: Apache-2.0
"""The climb: up in growing strides, back by halves after a refusal, down when it started too high."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from gossamer.goal import Goal
from gossamer.search.ladder import AGAIN, climb
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.tuning import Diverged


@dataclass(frozen=True)
class Step:
    height: float
    again: int = 0

    @property
    def name(self):
        return f"{self.height}{AGAIN * self.again}"

    def once_more(self):
        return replace(self, again=self.again + 1)


class FakeRun:
    """A run that has time for so many rungs."""

    def __init__(self, rungs_of_time=99, hours=None, epochs=None):
        self.rungs_of_time = rungs_of_time
        self.notes, self.forgotten, self.abandoned, self.watch = [], [], [], Watch()
        self.goal = Goal(tolerance=0.01, observed=0.005, hours=hours)
        self.settings = Settings(epochs=epochs)

    def epochs_for(self, number, name, times=1):
        return 5 * times if number <= self.rungs_of_time else 0

    def step_folder(self, number, name):
        return number, name

    def forget_training(self, folder):
        self.forgotten.append(folder)

    def abandon(self, folder):
        self.abandoned.append(folder)

    def note(self, text):
        self.notes.append(text)


def half_way(low, high):
    return Step((low.height + high.height) / 2)


def candidate(rung, accepted, drop, speedup=None):
    verdict = SimpleNamespace(accepted=accepted, drop=drop)
    return SimpleNamespace(height=rung.height, again=rung.again, speedup=speedup, verdict=verdict)


def climb_to(limit, run=None, first=0, diverges_at=None, height=4):
    """Heights tried and their verdicts, and what each started from, when everything up to `limit` is accepted."""
    tried = []

    run = run or FakeRun()

    def attempt(number, rung, previous, epochs):
        assert epochs == 5
        if rung.height == diverges_at:
            raise Diverged("planted")
        tried.append((number, rung.height, previous.height if previous else None))
        return [candidate(rung, rung.height <= limit, drop=0.3)]

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


def refused_at_first(run, drop, limit, speedup=None):
    """Names tried, with what they started from, where a rung up to `limit` holds the second time it is asked."""
    tried = []

    def attempt(number, rung, previous, epochs):
        tried.append((number, rung.name, previous and (previous.height, previous.again)))
        return [candidate(rung, rung.again and rung.height <= limit, drop, speedup)]

    rungs = [Step(h) for h in range(1, 5)]
    found = climb(run, rungs, attempt, between=half_way, epochs_for=run.epochs_for, once_more=Step.once_more)
    return tried, [one.height for one in found if one.verdict.accepted]


def test_what_was_refused_for_little_is_asked_once_more_and_goes_on_from_what_it_has_learned():
    run = FakeRun()
    tried, accepted = refused_at_first(run, drop=0.019, limit=2)
    assert tried[:4] == [
        (1, "1", None),
        (2, "1, again", (1, 0)),
        (3, "2", (1, 1)),
        (4, "2, again", (2, 0)),
    ]
    assert [name for _, name, _ in tried[4:]] == ["4", "4, again", "3", "3, again", "2.5", "2.5, again"]
    assert accepted == [1, 2]
    assert run.forgotten == [(number, name) for number, name, _ in tried]


@pytest.mark.parametrize(("drop", "speedup"), [(0.021, None), (0.019, 0.9)], ids=["lost too much", "not faster"])
def test_what_another_training_would_not_change_is_not_asked_again(drop, speedup):
    tried, accepted = refused_at_first(FakeRun(), drop, limit=2, speedup=speedup)
    assert tried == [(1, "1", None)]
    assert accepted == []


def test_without_time_it_is_not_asked_again():
    assert refused_at_first(FakeRun(rungs_of_time=1), drop=0.019, limit=2)[0] == [(1, "1", None)]


def test_of_two_forms_the_one_that_lost_least_goes_on():
    """int8 is the faster one, but far off."""
    started = []

    def attempt(number, rung, previous, epochs):
        started.append(previous and previous.form)
        forms = [candidate(rung, False, drop, speedup) for drop, speedup in ((0.006, 1.5), (0.04, 3.0))]
        for form, name in zip(forms, ("float32", "int8"), strict=True):
            form.form = name
        return forms

    run = FakeRun()
    climb(run, [Step(1)], attempt, between=half_way, epochs_for=run.epochs_for, once_more=Step.once_more)
    assert started == [None, "float32"]


@pytest.mark.parametrize("gives_back", [True, False])
def test_a_gentler_rung_goes_on_from_what_was_refused_for_little_where_it_can(gives_back):
    started, drops = [], {3: 0.018, 2: 0.03, 1: 0.004}

    def attempt(number, rung, previous, epochs):
        started.append((rung.height, previous and previous.height))
        return [candidate(rung, rung.height == 1, drops.get(rung.height, 0.03))]

    run, rungs = FakeRun(), [Step(1), Step(2), Step(3)]
    climb(run, rungs, attempt, between=half_way, epochs_for=run.epochs_for, first=2, gives_back=gives_back)
    close = 3 if gives_back else None  # 2 lost too much to go on from
    assert started[:3] == [(3, None), (2, close), (1, None)]


def test_it_is_asked_again_as_long_as_that_helps():
    drops = iter([0.0190, 0.0140, 0.0109, 0.0100, 0.0100])  # 0.005 are wanted: 0.014, 0.009, 0.0059, 0.005 too much
    tried = []

    def attempt(number, rung, previous, epochs):
        tried.append(rung.name)
        return [candidate(rung, False, next(drops))]

    run = FakeRun()
    climb(run, [Step(1)], attempt, between=half_way, epochs_for=run.epochs_for, once_more=Step.once_more)
    assert tried == ["1", "1, again", "1, again, again", "1, again, again, again"]


def test_what_was_refused_though_it_lost_nothing_is_asked_again_only_once():
    """Too many answers changed: no training makes good what is not lost, and without hours nothing would end it."""
    tried = []

    def attempt(number, rung, previous, epochs):
        tried.append(rung.name)
        return [candidate(rung, False, -0.01)]

    run = FakeRun()
    climb(run, [Step(1)], attempt, between=half_way, epochs_for=run.epochs_for, once_more=Step.once_more)
    assert tried == ["1", "1, again"]


def climb_by_training(run, needed, near=(), once_more=Step.once_more):
    """What was asked (name, start, epochs), and what held, where height h holds after `needed[h]` epochs."""
    asked = []

    def attempt(number, rung, previous, epochs):
        asked.append((rung.name, previous and (previous.height, previous.again), epochs))
        return [candidate(rung, epochs >= needed[rung.height], 0.019 if rung.height in near else 0.04)]

    rungs = [Step(h) for h in range(1, 5)]
    found = climb(run, rungs, attempt, between=half_way, epochs_for=run.epochs_for, once_more=once_more)
    return asked, [one.height for one in found if one.verdict.accepted]


NEEDED = {1: 5, 2: 9, 1.5: 5, 3: 20, 4: 79}


def test_while_hours_are_left_what_was_refused_is_trained_longer_and_what_holds_makes_way():
    asked, held = climb_by_training(FakeRun(hours=1, rungs_of_time=9), NEEDED)
    assert asked[:3] == [("1", None, 5), ("2", (1, 0), 5), ("1.5", (1, 0), 5)]
    assert asked[3:] == [
        ("2, again", (1.5, 0), 10),
        ("3", (2, 1), 10),
        ("3, again", (2, 1), 20),
        ("4", (3, 1), 20),
        ("4, again", (3, 1), 40),
        ("4, again, again", (3, 1), 80),
    ]
    assert held == [1, 1.5, 2, 3, 4]


def test_a_longer_training_starts_from_what_was_refused_for_little_at_that_rung():
    asked, _ = climb_by_training(FakeRun(hours=1, rungs_of_time=6), {1: 5, 2: 20, 1.5: 5, 3: 99, 4: 99}, near={2})
    assert asked[1:3] == [("2", (1, 0), 5), ("2, again", (2, 0), 5)]
    assert asked[4:6] == [("2, again, again", (2, 1), 10), ("2, again, again, again", (2, 2), 10)]


@pytest.mark.parametrize(
    ("run", "once_more"),
    [
        (FakeRun(), Step.once_more),
        (FakeRun(hours=1, epochs=5), Step.once_more),
        (FakeRun(hours=1), None),
        (FakeRun(hours=1, rungs_of_time=3), Step.once_more),
    ],
    ids=["no hours", "epochs were told", "not this recipe", "no time"],
)
def test_otherwise_it_ends_after_the_attempt_half_way(run, once_more):
    asked, held = climb_by_training(run, NEEDED, once_more=once_more)
    assert [name for name, _, _ in asked] == ["1", "2", "1.5"]
    assert held == [1, 1.5]


def test_a_dense_control_is_owed_what_led_to_something_accepted():
    run = FakeRun()
    refused_at_first(run, drop=0.019, limit=2)
    assert run.abandoned == [(n, name) for n, name, _ in reversed(tried_after_two())]


def tried_after_two():
    """1, again and 2, again hold, each from what was refused before it; nothing after them does."""
    tried, _ = refused_at_first(FakeRun(), drop=0.019, limit=2)
    return tried[4:]
