# SPDX-License-Identifier: Apache-2.0
"""What a run has asked once, of a split or of its teacher, it does not ask again."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.files import read_json, write_json
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.measure.quality import Answered
from gossamer.search import run as module
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.tuning import Distillation, Numerics

RIGHT = np.array([True, False, True] * 200)


@pytest.fixture
def made(make_task, tmp_path):
    task = make_task()
    return Run(tmp_path / "run", task, Goal(0.1), "auto", trace(task.model, task.example), Settings(), Watch())


@pytest.mark.parametrize(
    "found",
    [
        Answered(RIGHT, {}),
        Answered(RIGHT, {"AP": 0.5}),
        Answered(RIGHT, {}, np.arange(600) % 7 - 3),
        Answered(np.linspace(0, 1, 600), {}),
        Answered(np.linspace(0, 1, 600), {"IoU of all pixels": 0.25, "Dice of all pixels": 0.4}),
    ],
    ids=["right", "right and figures", "right and classes", "numbers", "numbers and figures"],
)
def test_it_is_read_back_as_it_was_and_asked_once(found, made, monkeypatch):
    asked = []

    def answered(*_):
        asked.append(1)
        return found

    monkeypatch.setattr(module, "answered", answered)
    for _ in range(2):
        again = made.answered_on("test of x", made.task.test, lambda: b"")
        assert again.quality.dtype == found.quality.dtype
        np.testing.assert_array_equal(again.quality, found.quality)
        assert again.figures == found.figures
        assert (again.classes is None) == (found.classes is None)
        if found.classes is not None:
            np.testing.assert_array_equal(again.classes, found.classes)
    np.testing.assert_array_equal(made.quality_on("test of x", made.task.test, lambda: b""), found.quality)
    assert asked == [1]


def test_a_run_that_began_before_there_were_figures_goes_on(made):
    path = made.folder / "stages" / "test of x.json"
    write_json(path, {"value": [0.5, 0.25], "seconds": 1.0})
    found = made.answered_on("test of x", made.task.test, lambda: b"")
    assert (found.quality.tolist(), found.figures) == ([0.5, 0.25], {})
    assert read_json(path)["value"] == [0.5, 0.25]


def test_the_next_training_of_a_run_sees_the_batches_of_the_one_before(made, tmp_path):
    """So that its teacher has answered them already: fewer epochs of another network, nothing new is asked."""
    remembered = []
    for name, epochs in (("first", 2), ("second", 1)):
        module = made.network.copy().module
        made.tune(module, (Distillation(),), Numerics(), epochs, tmp_path / name, name)
        remembered.append(len(made._answers._kept))
    steps = len(made.task.train) // made.settings.batch_size
    assert remembered == [2 * steps, 2 * steps]
