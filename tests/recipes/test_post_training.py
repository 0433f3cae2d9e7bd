# SPDX-License-Identifier: Apache-2.0
"""Post-training on a small network: nothing trained, strength settled on the selection split, resumed to the same."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import gossamer
from gossamer import coding, container, tuning
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.recipes import post_training, recipe_named
from gossamer.recipes.post_training import PostTraining, Rounding, calibration_batches
from gossamer.search.settings import Settings

SETTINGS = Settings(augment=False)
RECIPE = "post-training:images=100,halvings=1"
GOAL = Goal(0.04, observed=0.01)


@pytest.fixture(scope="module", autouse=True)
def _near():
    """Start near what so easy a task allows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(post_training, "FIRST", 0.8)
        yield


@pytest.fixture(scope="module")
def finished(user_task, trained, tmp_path_factory):
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "rounded"
    task = user_task(trained)
    return task, gossamer.compress(task, GOAL, RECIPE, out=out, settings=SETTINGS, ledger=out.with_suffix(".json"))


def strength(candidate) -> float:
    return float(re.fullmatch(r"strength (.+)", candidate.name)[1])


def test_the_largest_strength_that_is_accepted_is_delivered(finished):
    _, result = finished
    tried = {strength(candidate): candidate for candidate in result.candidates}
    good = max(s for s, candidate in tried.items() if candidate.verdict.accepted)
    bad = min(s for s, candidate in tried.items() if not candidate.verdict.accepted)
    assert good < bad < 1.5 * good, "one halving of a doubling"
    assert min(c.sizes.coded for c in tried.values() if c.verdict.accepted) == tried[good].sizes.coded
    assert result.certificate.proven
    assert result.report.compressed.bytes.fp32 / result.report.compressed.bytes.coded > 2


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (0.05, [0.02, 0.04, 0.08, 0.0566, 0.0476]),
        (0.009, [0.02, 0.01, 0.005, 0.00707, 0.00841]),
        (9.0, [0.02 * 2**n for n in range(8)]),
        (0.0, [0.02 / 2**n for n in range(15)]),
    ],
)
def test_strength_is_doubled_or_halved_and_then_settled(allowed, expected, monkeypatch):
    """`allowed`: what the selection split accepts; within the limits there may be no change of its mind."""
    asked = []

    def candidate(run, rounding, number, given):
        if number == len(asked):  # else the first one, which is timed and then taken
            asked.append(given)
        return SimpleNamespace(verdict=SimpleNamespace(accepted=given <= allowed))

    monkeypatch.setattr(post_training, "FIRST", 0.02)
    monkeypatch.setattr(post_training, "rounded", candidate)
    monkeypatch.setattr(Rounding, "of", staticmethod(lambda *parts: None))
    run = SimpleNamespace(
        goal=Goal(),
        network=None,
        task=None,
        note=print,
        seconds_of=lambda name, work: work() and 1.0,
        has_time_for=lambda seconds: True,
    )
    tried = PostTraining(halvings=2).search(run)
    assert len(tried) == len(expected)
    assert asked == pytest.approx(expected, rel=2e-3)


def test_stronger_is_smaller(finished):
    _, result = finished
    by_strength = sorted(result.candidates, key=strength)
    coded = [sum(e.bytes for e in container.read(c.file).stored) for c in by_strength]
    assert coded == sorted(coded, reverse=True)


def test_every_weight_of_every_candidate_is_on_a_grid(finished):
    task, result = finished
    names = {layer.name for layer in trace(task.model, task.example).layers}
    for candidate in result.candidates:
        grids = {t.name for t in container.read(candidate.file).payload.tensors if t.integers is not None}
        assert grids == names
        assert candidate.plan.layers.keys() == names
        assert all(layer.step > 0 for layer in candidate.plan.layers.values())


class _Killed(BaseException):
    """As a signal would: nothing catches it."""


def test_killed_it_goes_on_to_the_same_result_and_trains_nothing(finished, tmp_path, monkeypatch):
    task, result = finished
    real, calls = Rounding.at, []

    def at(self, asked):
        calls.append(asked)
        if len(calls) == 2:
            raise _Killed
        return real(self, asked)

    def refuse(*_given, **_options):
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr(Rounding, "at", at)
    monkeypatch.setattr(tuning, "tune", refuse)

    def compress():
        return gossamer.compress(task, GOAL, RECIPE, out=tmp_path / "k", settings=SETTINGS, ledger=tmp_path / "l")

    with pytest.raises(_Killed):
        compress()
    again = compress()
    assert calls[1] == calls[2], "what was there is read back, what was lost is done again"
    assert [c.name for c in again.candidates] == [c.name for c in result.candidates]
    assert (again.folder / "model.onnx").read_bytes() == (result.folder / "model.onnx").read_bytes()


def test_fewer_images_where_memory_does_not_suffice_and_a_note(finished, monkeypatch):
    task, _ = finished
    network, notes = trace(task.model, task.example), []
    whole = calibration_batches(network, task, 120, notes.append)
    assert sum(map(len, whole)) == 120
    assert notes == []
    # 30 images of 16 channels of 8x8 in both networks; gossamer.graph.walk is a function and a module
    monkeypatch.setattr(sys.modules["gossamer.graph.walk"], "MOST_BYTES", 30 * 8 * 16 * 64)
    few = calibration_batches(network, task, 120, notes.append)
    assert sum(map(len, few)) == 30
    assert notes[0].startswith("calibrated on 30 of 120 images")
    expected, _ = next(task.batches(task.calibration, 30))
    assert torch.equal(torch.cat(few), expected)


def test_bad_input_is_named(task, tmp_path):
    with pytest.raises(ValueError, match="makes files small, not arithmetic fast, but latency is to be minimised"):
        gossamer.compress(
            task,
            Goal(minimise="latency"),
            "post-training",
            out=tmp_path / "r",
            settings=SETTINGS,
            ledger=tmp_path / "l",
        )
    with pytest.raises(ValueError, match="images of post-training must be at least 1, got 0"):
        recipe_named("post-training:images=0")
    with pytest.raises(ValueError, match="halvings of post-training must be at least 0, got -1"):
        recipe_named("post-training:halvings=-1")


def test_candidates_are_coded_as_the_settings_say(user_task, trained, tmp_path, finished, monkeypatch):
    task, _ = finished
    asked: list[int] = []

    def counted(values, memory):
        asked.append(values.size)
        return coding.fast(values, memory)

    monkeypatch.setitem(coding.CHOICES, "fast", counted)
    settings = replace(SETTINGS, coding="fast")
    recipe = "post-training:images=100,halvings=0"
    fast = gossamer.compress(task, GOAL, recipe, out=tmp_path / "fast", settings=settings, ledger=tmp_path / "l.json")
    layers = len(
        [tensor for tensor in container.read(fast.candidates[0].file).payload.tensors if len(tensor.shape) > 1]
    )
    assert len(asked) >= layers * len(fast.candidates) > 0
    with pytest.raises(ValueError, match="coding must be one of small, fast, got 'quick'"):
        Settings(coding="quick")
