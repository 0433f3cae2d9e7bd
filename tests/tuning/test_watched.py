# SPDX-License-Identifier: Apache-2.0
"""Whoever watches a training changes nothing of it, and sees the network that there is after each epoch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gossamer.graph import trace
from gossamer.tuning import Grafting, Settings, Sparsify, effective_weights, graft, tune
from gossamer.tuning.watched import Watched

SETTINGS = Settings(epochs=3, batch_size=64, learning_rate=0.005, augment=False)


def right(module, weights, task, split):
    module.eval()
    with torch.no_grad():
        found = [
            torch.func.functional_call(module, weights, (x,)).argmax(1) == y for x, y in task.batches(split, len(split))
        ]
    return float(torch.cat(found).float().mean())


def some(task):
    return Watched(task, task.selection.subset(np.arange(0, len(task.selection), 2), "selection"))


@pytest.fixture
def network(task):
    return trace(task.model, task.example)


def sparse(network):
    return (Sparsify({layer.name: torch.ones(()) for layer in network.layers}, final=0.97, refreshes=3),)


def test_the_training_is_the_same_and_the_last_answer_is_the_network_s(task, network):
    plain, plugs = network.copy(), sparse(network)
    losses = tune(plain.module, task, SETTINGS, sparse(network))
    watched = some(task)
    assert tune(network.module, task, SETTINGS, plugs, watched=watched) == losses
    for name, value in plain.module.state_dict().items():
        assert torch.equal(value, network.module.state_dict()[name]), name
    assert len(watched.qualities) == SETTINGS.epochs
    seen = task.selection.subset(np.arange(0, len(task.selection), 2), "selection")
    used = effective_weights(network.module, plugs)
    assert watched.qualities[-1] == pytest.approx(right(network.module, used, task, seen))
    raw = right(network.module, dict(network.module.state_dict()), task, seen)
    assert watched.qualities[-1] != pytest.approx(raw), "the pruned weights are those that answer"


def test_a_killed_training_remembers_what_was_seen(task, network, tmp_path, stop_after):
    whole = some(task)
    tune(network.copy().module, task, SETTINGS, watched=whole)
    checkpoint = tmp_path / "training.safetensors"
    with pytest.raises(KeyboardInterrupt):
        tune(network.copy().module, task, SETTINGS, (stop_after(15),), checkpoint=checkpoint, watched=some(task))
    again = some(task)
    tune(network.copy().module, task, SETTINGS, checkpoint=checkpoint, watched=again)
    assert again.qualities == whole.qualities


def test_copies_are_asked_after_their_exchange(task, network, tmp_path):
    watched, checkpoint = some(task), tmp_path / "training.safetensors"
    copies, _ = graft(
        copy.deepcopy(network.module),
        task,
        SETTINGS,
        grafting=Grafting(copies=3),
        watched=watched,
        checkpoint=checkpoint,
    )
    seen = task.selection.subset(np.arange(0, len(task.selection), 2), "selection")
    best = max(right(one, dict(one.state_dict()), task, seen) for one in copies)
    assert watched.qualities[-1] == pytest.approx(best)
    again = some(task)
    graft(
        copy.deepcopy(network.module), task, SETTINGS, grafting=Grafting(copies=3), watched=again, checkpoint=checkpoint
    )
    assert again.qualities == watched.qualities
