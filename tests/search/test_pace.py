# SPDX-License-Identifier: Apache-2.0
"""What is timed is what will be done, and what must come at the end is reserved."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.search import pace as module
from gossamer.search.pace import Pace, epoch_time, epochs_per_rung, step_seconds, time_needed, usual_plugs
from gossamer.search.run import Settings
from gossamer.tuning import Distillation, GridRounding, Numerics, Plug, Sparsify

PLAIN = Numerics()


@pytest.mark.parametrize(
    ("minimise", "kinds"), [("bytes", [Sparsify, GridRounding, Distillation]), ("latency", [Distillation])]
)
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
        assert step_seconds(task, network, Settings(), PLAIN, (counter, Distillation()), size) > 0
        assert counter.steps == module.TRIAL_STEPS + 1
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())


def test_plugs_cost_per_step_and_images_per_image(task, monkeypatch):
    """0.3 s a step with the plugs and 0.1 s without, 64 images each; an epoch has 384 images, 3 steps of 128."""
    monkeypatch.setattr(module, "TRIAL_PIXELS", 64 * 64)
    monkeypatch.setattr(module, "step_seconds", lambda *given: 0.3 if len(given[4]) > 1 else 0.1)
    network = trace(task.model, task.example)
    settings = Settings(numerics="plain float32", batch_size=128)
    _, seconds, _ = epoch_time(task, network, Goal(), settings)
    assert seconds == pytest.approx(384 / 64 * 0.1 + 384 / 128 * 0.2)
    _, seconds, _ = epoch_time(task, network, Goal(minimise="macs"), settings)
    assert seconds == pytest.approx(384 / 64 * 0.1)


def run(control):
    task = SimpleNamespace(test=range(200), selection=range(100))
    return SimpleNamespace(settings=Settings(control=control), task=task)


def test_the_end_of_the_run_is_reserved():
    pace = Pace(PLAIN, epoch_seconds=10, epochs=5, trials_ms={})
    needed = time_needed(run(control=False), pace, candidate_seconds=4)
    assert needed(1) == 50 + 4 + 2 * 4 * 2  # train, measure; then test: two images for one, original and rung
    assert needed(3) == 50 + 4 + 2 * 4 * 4
    assert time_needed(run(control=True), pace, 4)(3) == needed(3) + 3 * 50


def test_epochs_leave_time_for_the_control():
    goal = Goal(hours=1)
    assert epochs_per_rung(goal, Settings(), 100) == 10
    assert epochs_per_rung(goal, Settings(control=True), 100) == 5
    assert epochs_per_rung(goal, Settings(epochs=7), 100) == 7
