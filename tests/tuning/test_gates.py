# SPDX-License-Identifier: Apache-2.0
"""Factors on channels: exact where they are read, exact where they are made, and learned where they are trained."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.func import functional_call

from gossamer.graph import trace
from gossamer.kinds.imitation import divergence
from gossamer.tuning import AdversarialAlignment, Batch, Clock, ImportanceWeights, Settings, effective_weights, tune
from gossamer.tuning.adversarial_alignment import answer_width, answers_last
from gossamer.tuning.gates import fold_in, gated, reading
from gossamer.zoo.models import load_model

NETWORKS = {"resnet20": (3, 32, 32), "mobilenetv2": (3, 32, 32), "densenet40": (3, 32, 32), "lenet5": (1, 28, 28)}
SETTINGS = Settings(epochs=2, batch_size=64, learning_rate=0.05, augment=False)


@pytest.fixture(scope="module")
def networks():
    found = {}
    for name in NETWORKS:
        torch.manual_seed(0)
        network = trace(load_model(name, 10).double().eval(), torch.randn(2, *NETWORKS[name], dtype=torch.float64))
        found[name] = network
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_a_factor_of_zero_where_a_channel_is_read_is_its_cut(name, networks):
    network = networks[name]
    network.module.eval()
    x = torch.randn(3, *NETWORKS[name], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    keeps = {group.name: np.arange(group.size) % 3 != 1 for group in network.prunable if group.multiple_of == 1}
    groups = [group for group in network.groups if group.name in keeps]
    weights = dict(network.module.named_parameters()) | dict(network.module.named_buffers())
    gates = [(reading(group), torch.from_numpy(keeps[group.name]).double()) for group in groups]
    found = functional_call(network.module, weights | gated(weights, gates), (x,))
    expected = network.cut(keeps).module(x)
    assert ((found - expected).abs().max() < 1e-10 * expected.abs().max()).item()


@pytest.mark.parametrize("name", ["resnet20", "mobilenetv2"])
def test_factors_divided_out_and_multiplied_in_change_nothing(name, networks):
    """As importance weights start: the network divided by them, and they in front of it."""
    network = networks[name].copy()
    network.module.eval()
    x = torch.randn(3, *NETWORKS[name], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = network.module(x)
    gates = []
    for group in network.prunable:
        factors = 0.2 + torch.rand(group.size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        fold_in(network.tensors, reading(group), 1 / factors)
        gates.append((reading(group), factors))
    weights = dict(network.module.named_parameters()) | dict(network.module.named_buffers())
    assert not torch.allclose(network.module(x), expected)
    found = functional_call(network.module, weights | gated(weights, gates), (x,))
    assert ((found - expected).abs().max() < 1e-10 * expected.abs().max()).item()


def test_importance_weights_learn_and_their_penalty_pulls(task):
    network = trace(task.model, task.example)
    groups = network.prunable

    def learned(strength):
        plug = ImportanceWeights(groups, {g.name: torch.ones(g.size) for g in groups}, strength=strength)
        module = copy.deepcopy(network.module)
        tune(module, task, SETTINGS, (plug,))
        read = effective_weights(module, (plug,))["conv2.weight"]
        factors = plug.values["conv1.weight"].detach()[:, None, None]
        assert torch.allclose(read, module.state_dict()["conv2.weight"] * factors)
        return torch.cat([value.detach() for value in plug.values.values()])

    free, pulled = learned(0.0), learned(0.05)
    assert not torch.equal(free, torch.ones_like(free))
    assert pulled.abs().mean() < 0.8 * free.abs().mean()


def test_the_discriminator_judges_pixels_and_anchors_one_by_one():
    torch.manual_seed(0)
    batch = Batch(
        torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.long), torch.nn.functional.cross_entropy, divergence
    )
    for shape, width in (((2, 5), 5), ((2, 1, 4, 4), 1), ((2, 6, 4, 4), 6), ((2, 30, 7), 7)):
        outputs = torch.randn(shape)
        assert answer_width(outputs) == width
        assert answers_last(outputs).shape[:-1].numel() == outputs.numel() // width
        assert AdversarialAlignment((), width).loss(outputs, torch.randn(shape), batch) > 0


def test_with_labels_and_without_groups_it_tunes_what_was_chosen():
    """The outputs are aligned, the task's own loss is added, and nothing is switched off."""
    torch.manual_seed(0)
    targets = torch.tensor([1, 3])
    batch = Batch(torch.zeros(2, 3, 4, 4), targets, torch.nn.functional.cross_entropy, divergence)
    outputs, wanted = torch.randn(2, 5), torch.randn(2, 5)
    plain, labelled = AdversarialAlignment((), 5), AdversarialAlignment((), 5, labelled=True)
    added = labelled.loss(outputs, wanted, batch) - plain.loss(outputs, wanted, batch)
    assert float(added.detach()) == pytest.approx(float(torch.nn.functional.cross_entropy(outputs, targets)), rel=1e-5)
    assert labelled.transform({}) == {}
    assert labelled.words() == ""


def aligned(network, task, settings=SETTINGS, **options):
    plug = AdversarialAlignment(network.prunable, 4, **options)
    module = copy.deepcopy(network.module)
    tune(module, task, settings, (plug,), teacher=copy.deepcopy(network.module))
    return plug, module


def test_the_harder_factors_are_pulled_the_more_channels_are_off(trained, user_task):
    task = user_task(trained)
    network = trace(task.model, task.example)
    off = []
    for pull in (0.5, 1.0, 3.0):
        plug, _ = aligned(network, task, pull=pull)
        off.append(sum(int((value <= 0).sum()) for value in plug.factors.values()))
    assert off[0] == 0, "nothing is pulled that far"
    assert off[-1] > 16, "whatever holds them, most are off"
    assert off == sorted(off)
    assert f"{off[-1]} of 32 channels off" in plug.words()


def test_a_factor_that_nothing_holds_falls_as_far_as_it_is_pulled():
    torch.manual_seed(0)
    group = trace(load_model("lenet5", 10), torch.zeros(1, 1, 28, 28)).prunable[0]
    plug = AdversarialAlignment([group], 10, pull=0.6)
    for step in range(100):
        plug.before_step(Clock(step, 100, 50), {})
        plug._fista()
    assert torch.allclose(plug.factors[group.name], torch.full((group.size,), 0.4), atol=1e-4)


def test_the_discriminator_and_the_outputs_are_trained(trained, user_task):
    task = user_task(trained)
    network = trace(task.model, task.example)
    plug, module = aligned(network, task, pull=0.2)
    fresh = AdversarialAlignment(network.prunable, 4, pull=0.2)
    assert not any(torch.equal(a, b) for a, b in zip(plug.discriminator, fresh.discriminator, strict=True))
    assert not torch.equal(module.state_dict()["conv1.weight"], network.module.state_dict()["conv1.weight"])


def test_alignment_goes_to_other_processes_without_the_eyes_of_the_first():
    group = trace(load_model("lenet5", 10), torch.zeros(1, 1, 28, 28)).prunable[0]
    plug = AdversarialAlignment([group], 10, after_epoch=lambda *_: None)
    there = pickle.loads(pickle.dumps(plug))
    assert there.after_epoch is None
    assert plug.after_epoch is not None
    assert torch.equal(there.factors[group.name], plug.factors[group.name])


def test_every_epoch_is_shown_with_its_factors(task):
    seen = []
    network = trace(task.model, task.example)

    def after(epoch, weights, factors):
        seen.append((epoch, {name: value.detach().clone() for name, value in factors.items()}, set(weights)))

    aligned(network, task, pull=0.5, after_epoch=after)
    assert [epoch for epoch, _, _ in seen] == [1, 2]
    assert seen[0][2] >= {"conv1.weight", "bn1.running_mean"}
    assert not torch.equal(seen[0][1]["conv1.weight"], seen[1][1]["conv1.weight"])


def test_alignment_resumes_to_the_same(task, tmp_path, stop_after):
    network = trace(task.model, task.example)

    def run(*more):
        plug, module = AdversarialAlignment(network.prunable, 4), copy.deepcopy(network.module)
        checkpoint = tmp_path / "training.safetensors"
        tune(module, task, SETTINGS, (plug, *more), teacher=copy.deepcopy(network.module), checkpoint=checkpoint)
        checkpoint.unlink()
        return plug, module

    plug, module = run()
    with pytest.raises(KeyboardInterrupt):
        run(stop_after(8))
    again, resumed = run()
    for one, other in zip(plug.state().values(), again.state().values(), strict=True):
        assert torch.equal(one, other)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdversarialAlignment((), 4, pull=0), r"pull must be positive, got 0"),
        (lambda: AdversarialAlignment((), 4, start="half"), r"start must be ones or normal, got 'half'"),
        (lambda: ImportanceWeights((), {}, rate=0), r"rate must be positive and strength not negative, got 0"),
    ],
)
def test_bad_options_are_one_sentence(make, message):
    with pytest.raises(ValueError, match=message):
        make()
