# SPDX-License-Identifier: Apache-2.0
"""What is timed is what will be done, and what must come at the end is reserved."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.search import pace as module
from gossamer.search.pace import (
    Pace,
    epoch_time,
    epochs_in_time,
    epochs_per_rung,
    seconds_at_the_end,
    step_seconds,
    usual_plugs,
)
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.tuning import Distillation, Grafting, Numerics, Plug, RatePenalty

PLAIN = Numerics()


@pytest.mark.parametrize(("minimise", "kinds"), [("bytes", [RatePenalty, Distillation]), ("latency", [Distillation])])
def test_the_plugs_of_the_goal_are_timed(task, minimise, kinds):
    network = trace(task.model, task.example)
    assert [type(plug) for plug in usual_plugs(network, Goal(minimise=minimise))] == kinds


class Counter(Plug):
    steps = 0

    def after_step(self, clock, weights):
        self.steps += 1


def test_a_trial_is_a_few_real_steps_and_leaves_the_network_alone(task):
    network = trace(task.model, task.example)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    counter = Counter()
    for size in (16, len(task.train)):  # many steps an epoch, and one
        counter.steps = 0
        assert (
            step_seconds(task, network.copy().module, network, Settings(), PLAIN, (counter, Distillation()), size) > 0
        )
        assert counter.steps == module.TRIAL_STEPS + 1
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())


def test_plugs_cost_per_step_and_images_per_image(task, monkeypatch):
    """0.3 s a step with the plugs and 0.1 s without, 64 images each; an epoch has 384 images, 3 steps of 128."""
    monkeypatch.setattr(module, "TRIAL_PIXELS", 64 * 64)
    monkeypatch.setattr(module, "step_seconds", lambda *given: 0.3 if len(given[5]) > 1 else 0.1)
    network = trace(task.model, task.example)
    settings = Settings(numerics="plain float32", batch_size=128)
    _, seconds, _ = epoch_time(task, network, Goal(), settings)
    assert seconds == pytest.approx(384 / 64 * 0.1 + 384 / 128 * 0.2)
    _, seconds, _ = epoch_time(task, network, Goal(minimise="macs"), settings)
    assert seconds == pytest.approx(384 / 64 * 0.1)


class TimedRun:
    """A run with so many seconds left, where a pace measured anew is `again` seconds an epoch."""

    def __init__(self, left=0.0, control=False, epochs=None, second_test=None):
        self.left, self.settings = left, Settings(control=control, epochs=epochs)
        self.task = SimpleNamespace(test=range(200), selection=range(100), second_test=second_test)
        self.network = self.goal = None
        self.epoch_seconds = math.inf
        self.remembered, self.notes = {}, []

    def stage(self, name, compute):
        return self.remembered[name] if name in self.remembered else self.remembered.setdefault(name, compute())

    def stages(self):
        return {name: {"value": value} for name, value in self.remembered.items()}

    def has_time_for(self, seconds):
        return seconds <= self.left

    def note(self, text):
        self.notes.append(text)


def test_the_end_of_the_run_is_reserved():
    one = seconds_at_the_end(TimedRun(), 1, candidate_seconds=4)
    assert one == 4 + 2 * 4 * 2  # measure; then test: two images for one, original and rung
    three = seconds_at_the_end(TimedRun(), 3, candidate_seconds=4)
    assert three == 4 + 2 * 4 * 4
    second = seconds_at_the_end(TimedRun(second_test=range(50)), 3, candidate_seconds=4)
    assert second == three + 4 * 2 * 0.5, "original and delivered, on half as many images as in selection"


def test_the_dense_control_is_reserved_at_its_own_pace(monkeypatch):
    """After 16 epochs that it is owed, and 5 of another step that was abandoned. An epoch of the original takes 10 s,
    of the last network 4 s; 8 epochs and the end take 32 + 20 s, the control another 240 s."""
    monkeypatch.setattr(module, "tuning_seconds", lambda *given: 10)
    for left, epochs in ((292, 8), (291, 7), (292 - 4 * 14, 4), (292 - 4 * 14 - 1, 0)):
        run, pace = TimedRun(left, control=True), Pace(PLAIN, epoch_seconds=10, epochs=8, trials_ms={})
        run.remembered |= {"01-a losses": [1] * 8, "03-b losses": [1] * 8, "02-c weights losses": [1] * 5}
        run.remembered["02-c abandoned"] = True
        run.epoch_seconds = 4
        assert epochs_in_time(run, pace, candidate_seconds=4)(1, "a rung") == epochs


@pytest.mark.parametrize(("left", "asked", "epochs"), [(180, None, 16), (179, None, 15), (100, None, 8), (99, None, 0)])
def test_a_longer_training_may_be_cut_to_half_of_it(left, asked, epochs, monkeypatch):
    """8 epochs of 10 s are usual; the end of the run takes 20 s."""
    monkeypatch.setattr(module, "tuning_seconds", lambda *given: 10)
    run, pace = TimedRun(left, epochs=asked), Pace(PLAIN, epoch_seconds=10, epochs=8, trials_ms={})
    assert epochs_in_time(run, pace, candidate_seconds=4)(1, "a rung", 2) == epochs


@pytest.mark.parametrize(
    ("left", "again", "asked", "epochs"),
    [
        (100, 10, None, 8),  # all fit
        (80, 10, None, 6),  # two are taken away
        (80, 10, 8, 0),  # unless eight were asked for
        (80, 5, 8, 8),  # the machine was busy when it was first measured
        (59, 10, None, 0),  # four and the end do not fit
        (20.9, 0.1, None, 8),
    ],
)
def test_epochs_are_taken_away_before_a_rung_is_given_up(left, again, asked, epochs, monkeypatch):
    """8 epochs of 10 s were planned; the end of the run takes 20 s."""
    monkeypatch.setattr(module, "tuning_seconds", lambda *given: again)
    run, pace = TimedRun(left, epochs=asked), Pace(PLAIN, epoch_seconds=10, epochs=8, trials_ms={})
    assert epochs_in_time(run, pace, candidate_seconds=4)(1, "a rung") == epochs
    assert len(run.notes) == (epochs < 8)
    run.left = 0.0
    assert epochs_in_time(run, pace, candidate_seconds=4)(1, "a rung") == epochs, "a restart comes to the same"
    assert len(run.notes) == (epochs < 8)


def test_what_goes_by_before_a_training_is_reserved(monkeypatch):
    """80 s are left, the end takes 20 s, choosing channels 20 s, and an epoch 10 s."""
    monkeypatch.setattr(module, "tuning_seconds", lambda *given: 10)
    run, pace = TimedRun(80), Pace(PLAIN, epoch_seconds=10, epochs=8, trials_ms={})
    assert epochs_in_time(run, pace, candidate_seconds=4, choosing_seconds=20)(1, "a rung") == 4


@pytest.mark.parametrize(("last", "epochs"), [(4, 8), (30, 6)])
def test_a_rung_takes_no_longer_than_the_one_before(last, epochs, monkeypatch):
    """Its network is smaller; 80 s are left, the end takes 20 s, and an epoch of the original 10 s."""
    monkeypatch.setattr(module, "tuning_seconds", lambda *given: 10)
    run, pace = TimedRun(80), Pace(PLAIN, epoch_seconds=10, epochs=8, trials_ms={})
    run.epoch_seconds = last
    assert epochs_in_time(run, pace, candidate_seconds=4)(1, "a rung") == epochs


@pytest.mark.parametrize(("last", "copies", "epochs"), [(math.inf, 2, 8), (9, 2, 8), (9, 4, 4)])
def test_copies_beside_each_other_take_as_many_times_as_long(last, copies, epochs, monkeypatch):
    """180 s are left, the end takes 20 s, and an epoch of one network 10 s, 9 s in the last training."""
    monkeypatch.setattr(module, "tuning_seconds", lambda *given: 10)
    run, pace = TimedRun(180), Pace(PLAIN, epoch_seconds=10, epochs=8, trials_ms={})
    run.epoch_seconds = last
    assert epochs_in_time(run, pace, 4, copies)(1, "a rung") == epochs


def test_the_seconds_of_a_trained_epoch_are_those_of_one_network(task, tmp_path, monkeypatch):
    """Each step takes 2 s; an epoch of 384 images has 6 steps of 64, or one where the batch is larger than the data."""
    clock = iter(range(10**6))  # read twice a step

    def graft(module, task, settings, plugs, grafting, *, progress, **how):
        for step in range(24):
            progress(step + 1, 24, "")
        return [module] * grafting.copies, [0.5] * settings.epochs

    monkeypatch.setattr("gossamer.search.run.tuning.graft", graft)
    monkeypatch.setattr("gossamer.search.run.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    for batch_size, seconds in ((64, 12), (1000, 2)):
        network = trace(task.model, task.example)
        settings = Settings(batch_size=batch_size)
        run = Run(tmp_path / str(batch_size), task, Goal(), "none", network, settings, Watch())
        monkeypatch.setattr(run, "_ticked", math.inf)
        monkeypatch.setattr(run, "selection_quality", lambda module: 1.0)
        run.tune(network.copy().module, (), PLAIN, 2, tmp_path / "step", "a rung", grafting=Grafting(copies=2))
        assert run.epoch_seconds == seconds


def test_epochs_leave_time_for_the_control():
    goal = Goal(hours=1)
    assert epochs_per_rung(goal, Settings(), 100, 50_000) == 10
    assert epochs_per_rung(goal, Settings(control=True), 100, 50_000) == 5
    assert epochs_per_rung(goal, Settings(epochs=7), 100, 50_000) == 7
