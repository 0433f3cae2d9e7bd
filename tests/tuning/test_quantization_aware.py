# SPDX-License-Identifier: Apache-2.0
"""A network learns on the grids of its int8 arithmetic, and what is written is what was trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gossamer.graph import trace
from gossamer.quantize.folding import settle, settled_names
from gossamer.quantize.static_int8 import quantize_int8, with_values
from gossamer.runtime.export import export_onnx
from gossamer.runtime.session import open_session
from gossamer.runtime.weights import split_weights
from gossamer.tuning import Distillation, Numerics, Settings, tune
from gossamer.tuning.quantization_aware import on_int8_grids, trained_int8

COARSE = 1  # weights of -1, 0 and 1


@pytest.fixture(scope="module")
def rounded(user_task, trained):
    """The task, its network, that in ONNX, and rounded to three values a weight."""
    task = user_task(trained)
    network = trace(task.model, task.example)
    model = export_onnx(network.module, network.example)
    images = [images for images, _ in task.numpy_batches(task.calibration, 64)]
    return task, network, model, quantize_int8(model, images, largest=COARSE)


@pytest.fixture(scope="module")
def taught(rounded):
    task, network, model, int8 = rounded
    module = on_int8_grids(model, int8, settled_names(network), COARSE, task.example)
    settings = Settings(epochs=6, batch_size=32, learning_rate=0.02, augment=False)
    tune(module, task, settings, (Distillation(),), teacher=network.copy().module, numerics=Numerics())
    return module


def divergence(task, model: bytes, original: bytes) -> float:
    """Of the answers' probabilities from the original's, mean over the selection split, in nats."""
    inputs = np.concatenate([x for x, _ in task.numpy_batches(task.selection, 100)])
    got, expected = (torch.from_numpy(open_session(m).run(inputs)[0]).log_softmax(1) for m in (model, original))
    return float((expected.exp() * (expected - got)).sum(1).mean())


def test_training_on_the_grids_beats_rounding_to_them(rounded, taught):
    task, _, model, int8 = rounded
    after = divergence(task, trained_int8(int8, taught)[0], model)
    assert after < divergence(task, int8, model) / 2


def test_the_runtime_computes_what_was_trained(rounded, taught):
    """But where a result lies half-way between two points, which falls to either side."""
    task, _, _, int8 = rounded
    inputs = torch.cat([x for x, _ in task.batches(task.selection, 100)])
    trained = taught(inputs).detach().numpy()
    written = open_session(trained_int8(int8, taught)[0]).run(inputs.numpy())[0]
    assert np.median(np.abs(written - trained)) < 1e-4 * np.abs(trained).max()
    assert np.mean(written.argmax(1) == trained.argmax(1)) > 0.99


def test_the_network_takes_on_what_was_trained(rounded, taught):
    """Exported again it holds the values on the grids, so that it can be cut and trained further."""
    _, network, model, int8 = rounded
    network = network.copy()
    values = trained_int8(int8, taught)[1]
    exported = split_weights(model)[1]
    assert values.keys() == exported.keys() == settled_names(network) & exported.keys()
    settle(network, exported, values)
    again = split_weights(export_onnx(network.module, network.example))[1]
    for name, value in values.items():
        assert again[name] == pytest.approx(value, rel=1e-4, abs=1e-5 * float(np.abs(value).max())), name


def test_integers_of_their_own_values_stay(rounded):
    """Written back untrained, the file is the same."""
    task, network, model, int8 = rounded
    module = on_int8_grids(model, int8, settled_names(network), COARSE, task.example)
    assert trained_int8(int8, module)[0] == int8 == with_values(int8, {})
