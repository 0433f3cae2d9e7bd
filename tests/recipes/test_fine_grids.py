# SPDX-License-Identifier: Apache-2.0
"""Fine grids: a file of a trained network gives the answers that were trained."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from gossamer.goal import Goal
from gossamer.graph import trace
from gossamer.plan import Plan
from gossamer.quantize.folding import fold_factors
from gossamer.recipes.fine_grids import TRAINED, as_it_is, on_fine_grid, units_now
from gossamer.search.run import Run
from gossamer.search.settings import Settings
from gossamer.search.watch import Watch
from gossamer.tuning.batch_norm import reestimate_batch_norms
from tests.conftest import small_task

SETTINGS = Settings(epochs=1, batch_size=32, augment=False)
CHANNELS = 12


class Narrow(nn.Module):
    """Depthwise and narrow, and its channels differ in strength by a factor of a thousand."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, CHANNELS, 1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU())
        deep = []
        for _ in range(2):
            deep += [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=CHANNELS, bias=False)]
            deep += [nn.BatchNorm2d(CHANNELS), nn.ReLU()]
            deep += [nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU()]
        self.deep = nn.Sequential(*deep)
        self.up = nn.Sequential(
            nn.ConvTranspose2d(CHANNELS, CHANNELS, 2, stride=2, groups=CHANNELS // 2, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
        )
        self.head = nn.Linear(4 * CHANNELS, 4)
        scales = 10.0 ** torch.linspace(-2, 1, CHANNELS)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.bias, 0.5, 0.2)
        with torch.no_grad():  # the next layer's norms make them equal again
            self.stem[1].weight *= scales
            self.stem[1].bias *= scales
            for layer in (self.deep[0], self.deep[6]):  # differences: means that rounding moves
                layer.weight -= layer.weight.mean((1, 2, 3), keepdim=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.up(self.deep(self.stem(x)))[..., ::8, ::8].flatten(1))


@pytest.fixture
def made(tmp_path):
    """A run, and a network as training leaves it: with the statistics of its own weights."""
    torch.manual_seed(0)
    task = small_task(Narrow())
    network = trace(task.model, task.example)
    run = Run(tmp_path / "run", task, Goal(0.05, minimise="macs"), "auto", network, SETTINGS, Watch())
    reestimate_batch_norms(network.module, run.calibration_batches())
    network.module.eval()
    return run


def off(candidate, network, run) -> float:
    """How far a file's answers are from the network's, a share of how far these are from their mean."""
    inputs = next(iter(run.task.batches(run.task.selection, 256)))[0]
    with torch.no_grad():
        wanted = network.module(inputs).numpy()
    session = onnxruntime.InferenceSession(candidate.onnx())
    got = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
    return float(np.sqrt(np.square(got - wanted).mean() / np.square(wanted - wanted.mean(0)).mean()))


def test_the_file_of_a_trained_network_answers_as_it_did(made):
    trained = made.network.copy()
    candidate = on_fine_grid(made, made.folder / "steps/01-x", "x", trained.copy(), Plan())
    assert off(candidate, trained, made) < 0.08
    assert set(candidate.plan.layers) == {layer.name for layer in trained.layers}


def test_batch_norms_estimated_anew_bring_the_answers_closer_and_only_after_training(made, monkeypatch):
    monkeypatch.setattr("gossamer.recipes.fine_grids.UNTRAINED", TRAINED)
    untrained = made.network.copy()
    before = {name: value.clone() for name, value in untrained.module.named_buffers()}
    alone = as_it_is(made, made.folder / "steps/00-x", "x", untrained, Plan())
    assert all(bool((value == before[name]).all()) for name, value in untrained.module.named_buffers())
    trained = on_fine_grid(made, made.folder / "steps/01-x", "x", made.network.copy(), Plan())
    assert off(trained, made.network, made) < off(alone, made.network, made)


def test_a_transposed_convolution_in_groups_has_one_unit(made):
    network = made.network
    factors = fold_factors(network.layers, network.tensors)
    units = units_now(network.layers, network, {name: 0.5 / factor for name, factor in factors.items()})
    (up,) = (layer for layer in network.layers if layer.inputs_first)
    assert units[up.name].shape == (1,)
    assert all(unit == pytest.approx(0.5) for unit in units.values())


def test_a_single_weight_stays_in_the_graph_and_needs_no_grid(tmp_path):
    """As of a layer from one channel to one, which is what a deep cut leaves of wider ones."""
    torch.manual_seed(0)
    task = small_task(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(144, 4)))
    network = trace(task.model, task.example)
    run = Run(tmp_path / "thin", task, Goal(0.05, minimise="macs"), "auto", network, SETTINGS, Watch())
    thin = network.cut({name: np.arange(4) == 0 for name in ("0.weight", "1.weight")})
    candidate = on_fine_grid(run, run.folder / "steps/01-x", "x", thin.copy(), Plan().with_channels(thin.kept))
    assert set(candidate.plan.layers) == {"0.weight", "3.weight"}
    assert off(candidate, thin, run) < 0.08
