# SPDX-License-Identifier: Apache-2.0
"""The training loop learns, resumes to the same result, and stops at a loss that is not a number."""

from __future__ import annotations

import pytest
import torch

from gossamer.graph import trace
from gossamer.kinds.imitation import divergence, log_probabilities
from gossamer.tuning import (
    Batch,
    Distillation,
    Diverged,
    Numerics,
    Plug,
    Settings,
    Sparsify,
    effective_weights,
    tune,
)

SETTINGS = Settings(epochs=3, batch_size=64, learning_rate=0.1, augment=False)


def quality(module, task):
    module.eval()
    with torch.no_grad():
        return sum(int((module(x).argmax(1) == y).sum()) for x, y in task.batches(task.selection, 64)) / len(
            task.selection
        )


def plugs_for(network):
    factors = {layer.name: torch.ones(()) for layer in network.layers}
    return Sparsify(factors, final=0.5, refreshes=3), Doubled()


class Doubled(Plug):
    """A second transform, with a state of its own: weights count twice from the second epoch on."""

    epochs = torch.zeros((), dtype=torch.int64)

    def transform(self, weights):
        return weights | ({"fc.bias": 2 * weights["fc.bias"]} if self.epochs else {})

    def after_step(self, clock, weights):
        if (clock.step + 1) % clock.steps_per_epoch == 0:
            self.epochs = self.epochs + 1

    def state(self):
        return {"epochs": self.epochs}

    def load_state(self, state):
        self.epochs = state["epochs"]


def test_it_learns(task):
    network = trace(task.model, task.example)
    before = quality(network.module, task)
    losses = tune(network.module, task, SETTINGS)
    assert quality(network.module, task) > before + 0.3
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("killed_at", [3, 8, 15])
def test_resuming_gives_the_same_result(stop_after, task, tmp_path, killed_at):
    whole = trace(task.model, task.example)
    steady = plugs_for(whole)
    tune(whole.module, task, SETTINGS, steady)

    checkpoint = tmp_path / "training.safetensors"
    broken = trace(task.model, task.example)
    with pytest.raises(KeyboardInterrupt):
        tune(broken.module, task, SETTINGS, (*plugs_for(broken), stop_after(killed_at)), checkpoint=checkpoint)
    again = trace(task.model, task.example)
    resumed = plugs_for(again)
    losses = tune(again.module, task, SETTINGS, resumed, checkpoint=checkpoint)

    assert len(losses) == SETTINGS.epochs
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    for name, value in effective_weights(whole.module, steady).items():
        assert torch.equal(value, effective_weights(again.module, resumed)[name]), name


def test_a_finished_checkpoint_is_only_read(stop_after, task, tmp_path):
    network = trace(task.model, task.example)
    losses = tune(network.module, task, SETTINGS, checkpoint=tmp_path / "c")
    other = trace(task.model, task.example)
    assert tune(other.module, task, SETTINGS, (stop_after(0),), checkpoint=tmp_path / "c") == losses
    assert torch.equal(other.module.state_dict()["fc.weight"], network.module.state_dict()["fc.weight"])


def test_a_loss_that_is_not_a_number_stops_training(task):
    network = trace(task.model, task.example)
    with torch.no_grad():
        network.module.get_parameter("fc.bias").fill_(float("nan"))
    with pytest.raises(Diverged, match=r"expected a finite loss, got nan in epoch 1 of 3; lower the learning rate"):
        tune(network.module, task, SETTINGS)


def test_a_damaged_checkpoint_is_named(task, tmp_path):
    path = tmp_path / "training.safetensors"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"expected a checkpoint in .*training.safetensors"):
        tune(trace(task.model, task.example).module, task, SETTINGS, checkpoint=path)


def test_zeros_are_what_was_asked_for(task):
    network = trace(task.model, task.example)
    sparsify, _ = plugs = plugs_for(network)
    tune(network.module, task, SETTINGS, plugs)
    effective = effective_weights(network.module, plugs)
    weights = {name: effective[name] for name in sparsify.factors}
    zeros = sum(int((value == 0).sum()) for value in weights.values())
    assert zeros >= 0.5 * sum(value.numel() for value in weights.values())
    assert quality(network.module, task) > 0.5, "training under zeros must still learn"


def test_bfloat16_and_channels_last_train_as_well(task):
    network = trace(task.model, task.example)
    tune(network.module, task, SETTINGS, numerics=Numerics(channels_last=True, bfloat16=True))
    assert quality(network.module, task) > 0.8


def test_a_single_logit_is_a_choice_of_two_and_pixels_count_as_examples_do():
    one = torch.tensor([[0.3], [-2.0]])
    assert torch.allclose(log_probabilities(one).exp()[:, 1:], one.sigmoid())
    torch.manual_seed(0)
    ours, theirs = torch.randn(4, 3), torch.randn(4, 3)
    targets = torch.tensor([0, 2, 1, 1])
    cross_entropy = torch.nn.functional.cross_entropy
    whole = Distillation().loss(ours, theirs, Batch(ours, targets, cross_entropy, divergence))
    pixels = [values.t().reshape(1, 3, 2, 2) for values in (ours, theirs)]
    mapped = Distillation().loss(*pixels, Batch(pixels[0], targets.reshape(1, 2, 2), cross_entropy, divergence))
    assert torch.allclose(whole, mapped)


def test_the_callers_draws_are_not_begun_anew(task):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tune(task.model, task, Settings(epochs=1, batch_size=128, augment=False))
    assert torch.equal(torch.rand(3), expected)
