# SPDX-License-Identifier: Apache-2.0
"""int8 is trained where its answers are all that speaks against it, and then only."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from gossamer import tuning
from gossamer.data.images import ArrayImages, Split
from gossamer.described_task import task_from
from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.plan import Plan
from gossamer.quantize.folding import settled_names
from gossamer.quantize.static_int8 import quantize_int8, with_values
from gossamer.recipes import fewer_channels
from gossamer.recipes.fewer_channels import INT8_GENTLY, int8_trained
from gossamer.runtime.export import export_onnx
from gossamer.runtime.torch_operators import OPERATORS
from gossamer.search import candidate
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.search.widths import Widths
from gossamer.tuning import Distillation, tune
from gossamer.tuning.quantization_aware import on_int8_grids

SETTINGS = Settings(epochs=8, batch_size=32, learning_rate=0.1, augment=False, numerics="plain float32")
SHIPPED = Path(__file__).resolve().parents[2] / "examples" / "cifar10"
SPOILED = {"fc.bias": np.array([100, 0, 0, 0], np.float32)}


@pytest.fixture
def run(user_task, trained, tmp_path, monkeypatch):
    """A run whose int8 is twice as fast as its float32, and rounded so badly that it takes all images for one class."""
    task = user_task(trained)
    monkeypatch.setattr(Run, "latency", lambda self, model: (1.0, 2.0) if b"QuantizeLinear" in model else (2.0, 1.0))
    monkeypatch.setattr(
        candidate, "quantize_int8", lambda *given, **more: with_values(quantize_int8(*given, **more), SPOILED)
    )
    goal = Goal(tolerance=0.04, observed=0.02, minimise="latency")
    network = trace(task.model, task.example)
    return Run(tmp_path / "run", task, goal, "auto", network, SETTINGS, Watch())


def written(run):
    return fewer_channels.written_forms(run, run.step_folder(0, "uncut"), "uncut", run.network, Plan())


def test_int8_that_rounding_spoils_is_trained(run):
    before = written(run)
    assert [c.verdict.accepted for c in before if c.plan.int8] == [False]
    after = int8_trained(run, before[0].folder.parent, "uncut", before, 16)
    assert len(after) == len(before) + 1
    best = after[-1]
    assert best.name == "uncut, int8 trained"
    assert best.plan.int8
    assert best.verdict.accepted
    assert best.quality > 0.9
    assert not list((run.folder / "steps").rglob("training*"))
    again = int8_trained(run, before[0].folder.parent, "uncut", before, 16)
    assert again == after  # read back, not trained again


@pytest.mark.parametrize("change", ["float32 is refused too", "int8 is no faster", "int8 is good enough"])
def test_it_is_not_trained_where_that_is_no_use(run, change):
    before = written(run)
    floats = next(c for c in before if not c.plan.int8)
    int8 = next(c for c in before if c.plan.int8)
    if change == "float32 is refused too":
        floats = replace(floats, verdict=replace(floats.verdict, accepted=False))
    elif change == "int8 is no faster":
        int8 = replace(int8, speedup=0.9)
    else:
        int8 = replace(int8, verdict=replace(int8.verdict, accepted=True))
    assert int8_trained(run, floats.folder.parent, "uncut", [floats, int8], 16) == [floats, int8]


def test_without_time_it_is_said(run):
    before = written(run)
    run.seconds_of("first candidate", lambda: None)
    run.goal = replace(run.goal, hours=1e-6)
    assert int8_trained(run, before[0].folder.parent, "uncut", before, 16) == before
    assert run.notes[-1:] == ["'uncut' was not trained in int8: its 4 epochs did not fit into the time"]


def test_operators_that_cannot_be_trained_through_are_named(run, monkeypatch):
    monkeypatch.delitem(OPERATORS, "AveragePool")
    before = written(run)
    assert int8_trained(run, before[0].folder.parent, "uncut", before, 16) == before
    assert run.notes[-1].startswith("'uncut' was not trained in int8: expected operators that can be trained through")
    assert "'AveragePool'" in run.notes[-1]


def test_a_real_network_learns_at_this_rate():
    """Without batch norms a rate that suits the float network is too high: ResNet-20 diverged at a tenth of it."""
    task = task_from(
        data=f"cifar10:{SHIPPED}",
        model="resnet20",
        weights=SHIPPED / "resnet20.safetensors",
        preset="cifar10-imagenet-stats",
    )
    few = Split("train", ArrayImages(task.train.images.take(np.arange(1280))), task.train.labels[:1280])
    task = replace(task, train=few)
    network = trace(task.model, task.example)
    model = export_onnx(network.module, network.example)
    images = [images for images, _ in islice(task.numpy_batches(task.calibration, 50), 4)]
    int8 = quantize_int8(model, images, largest=7)
    module = on_int8_grids(model, int8, settled_names(network), 7, network.example[0])
    inputs = torch.cat([x for x, _ in islice(task.batches(task.selection, 100), 4)])
    with torch.no_grad():
        expected = network.module.eval()(inputs).log_softmax(1)

        def divergence() -> float:
            return float((expected.exp() * (expected - module(inputs).log_softmax(1))).sum(1).mean())

        before = divergence()
    settings = tuning.Settings(epochs=2, batch_size=64, learning_rate=Settings().learning_rate * INT8_GENTLY)
    tune(module, task, settings, (Distillation(),), teacher=network.copy().module)
    with torch.no_grad():
        assert divergence() < 0.7 * before


# --- one rung --------------------------------------------------------------------------------------------------------


def test_int8_trains_as_long_after_a_kill_as_without_one(run, monkeypatch):
    """Trials of proposals take epochs of the rung; what int8 gets is a share of all of them."""
    asked = []
    monkeypatch.setattr(
        fewer_channels, "int8_trained", lambda run, folder, name, written, epochs: asked.append(epochs) or written
    )
    run.seconds_of("first candidate", lambda: None)
    run.goal = replace(run.goal, minimise="macs")  # which needs no table of milliseconds
    widths = Widths.of(run, int8=False)
    demand = fewer_channels.Demand(0.6, "MACs")
    first = fewer_channels.cut_and_tuned(run, widths, 1, demand, None, 16)
    again = fewer_channels.cut_and_tuned(run, widths, 1, demand, None, 16)
    assert asked == [16, 16]
    assert first == again


def test_a_limit_that_only_channels_keep_comes_before_that_of_bytes(run):
    floats, int8 = sorted(written(run), key=lambda candidate: candidate.plan.int8)
    run.goal = Goal(fit={"latency": 5, "bytes": 1000})
    refused = replace(floats.verdict, accepted=False)
    floats = replace(floats, latency_ms=4.0, verdict=refused, sizes=replace(floats.sizes, coded=5000))
    int8 = replace(int8, latency_ms=6.0, verdict=refused, sizes=replace(int8.sizes, coded=1400))
    assert fewer_channels._best_last(run, [floats, int8])[-1] is floats
    fast = replace(int8, latency_ms=3.0)
    assert fewer_channels._best_last(run, [fast, floats])[-1] is fast, "both are in time: the smaller file"
