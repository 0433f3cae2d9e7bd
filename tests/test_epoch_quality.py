# SPDX-License-Identifier: Apache-2.0
"""`--epoch-quality`: the report shows the quality after each epoch of tuning, and everything else is as without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

import gossamer
from gossamer.files import read_json
from gossamer.goal import Goal
from gossamer.search.settings import Settings

SETTINGS = Settings(epochs=3, batch_size=64, augment=False, numerics="plain float32")
RECIPE = "network-slimming:macs=0.5,penalised=0.34"  # an epoch before the cut, two after it


def made(task, folder, settings):
    goal = Goal(0.5, minimise="macs")
    return gossamer.compress(task, goal, RECIPE, out=folder, settings=settings, ledger=folder.with_suffix(".json"))


def test_it_is_in_the_report_and_decides_nothing(user_task, trained, tmp_path):
    task = user_task(trained)
    plain = made(task, tmp_path / "plain", SETTINGS)
    asked = made(task, tmp_path / "asked", replace(SETTINGS, epoch_quality=40, control=True))
    assert asked.report.watched.images == 40
    assert asked.report.watched.original == pytest.approx(1, abs=0.1)
    assert [(epoch.training, epoch.quality is not None) for epoch in asked.report.history] == [
        (1, False),
        (2, True),
        (2, True),
    ], "the network that is not yet cut is not asked, and no more is the control"
    assert plain.report.watched is None
    assert all(epoch.quality is None for epoch in plain.report.history)
    assert [epoch.loss for epoch in plain.report.history] == [epoch.loss for epoch in asked.report.history]
    assert plain.report.compressed.quality == asked.report.compressed.quality


def test_a_run_begun_without_it_is_another(user_task, trained, tmp_path):
    task = user_task(trained)
    made(task, tmp_path / "run", SETTINGS)
    assert "epoch_quality" not in read_json(tmp_path / "run" / "run.json")["settings"]
    with pytest.raises(ValueError, match=r"it differs in settings\.epoch_quality"):
        made(task, tmp_path / "run", replace(SETTINGS, epoch_quality=40))


def test_images_are_counted():
    with pytest.raises(ValueError, match="epoch_quality must be a number of images, or 0 for none, got -1"):
        Settings(epoch_quality=-1)
