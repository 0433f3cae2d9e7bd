# SPDX-License-Identifier: Apache-2.0
"""Grafting: the published formula, an exchange of all at once, and a training that resumes to the same."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.measure.entropy import entropy
from gossamer.tuning import Grafting, ImportanceWeights, Settings, graft, tune
from gossamer.tuning.grafting import blocks

SETTINGS = Settings(epochs=2, batch_size=64, learning_rate=0.05, augment=False)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4, 2)
    )


def test_blocks_are_a_convolution_and_what_follows_it():
    assert blocks(network(0).state_dict()) == [
        ["0.weight", "0.bias", *(f"1.{name}" for name in nn.BatchNorm2d(1).state_dict())],
        ["3.weight", "3.bias", "5.weight", "5.bias"],
    ]


def test_without_convolutions_blocks_start_at_linear_layers_and_are_exchanged():
    """A silent exchange of nothing would leave the copies as they were."""
    layers = [nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)) for _ in range(2)]
    norm = [f"2.{name}" for name in nn.BatchNorm1d(1).state_dict()]
    states = [one.state_dict() for one in layers]
    assert blocks(states[0]) == [["1.weight", "1.bias", *norm], ["3.weight", "3.bias"]]
    assert not torch.equal(states[0]["1.weight"], states[1]["1.weight"])
    shares = Grafting().exchange(states)
    assert shares[0].keys() == {"1.weight", "3.weight"}
    assert torch.allclose(states[0]["1.weight"], states[1]["1.weight"], atol=1e-6)


def test_alpha_by_hand():
    own, other = (
        torch.linspace(0, 1, 101)[:, None, None],
        torch.randn(100, 1, 1, generator=torch.Generator().manual_seed(0)),
    )
    difference = entropy(own.numpy()) - entropy(other.numpy())
    assert difference > 0.1
    expected = 0.4 / math.pi * math.atan(2 * difference) + 0.5
    plain = Grafting(joint=False)
    assert Grafting(steepness=2, joint=False).alpha([own], [other]) == round(expected, 2)
    assert plain.alpha([own], [other]) == 0.7
    assert plain.alpha([other], [own]) == 0.3
    assert plain.alpha([own], [own]) == 0.5
    assert Grafting(steepness=2).alpha([own], [other]) == pytest.approx(expected, abs=1e-12), (
        "joint: nothing is rounded"
    )


def test_joint_grafting_hears_the_batch_norm_too():
    """And not the convolution's bias, which stands between the two."""
    first, second = network(0), network(0)
    first[1].weight.data, second[1].weight.data = torch.linspace(0, 1, 8), torch.tensor([0.0, 0, 0, 0, 0, 0, 0, 1])
    second[0].bias.data = torch.linspace(0, 1, 8)
    first[0].bias.data = torch.ones(8)
    states = [copy.deepcopy(one.state_dict()) for one in (first, second)]
    heard = [share["0.weight"] for share in Grafting(joint=True).exchange(copy.deepcopy(states))]
    assert heard == pytest.approx([0.7, 0.3], abs=0.005)
    assert [share["0.weight"] for share in Grafting(joint=False).exchange(copy.deepcopy(states))] == [0.5, 0.5]


@pytest.mark.parametrize("copies", [2, 3])
def test_the_exchange_is_of_all_as_they_were(copies):
    """A ring: copy i takes from copy i - 1, and nobody from what another has just taken."""
    networks = [network(seed) for seed in range(copies)]
    before = [copy.deepcopy(one.state_dict()) for one in networks]
    shares = Grafting(copies=copies).exchange([one.state_dict() for one in networks])
    for index, (one, own) in enumerate(zip(networks, before, strict=True)):
        other = before[index - 1]
        for block in blocks(own):
            alpha = shares[index][block[0]]
            assert 0.3 <= alpha <= 0.7
            for name in block:
                if own[name].is_floating_point():
                    assert torch.allclose(one.state_dict()[name], alpha * own[name] + (1 - alpha) * other[name])


def test_copies_learn_and_stay_close(task):
    module = trace(task.model, task.example).module
    settings = Settings(epochs=4, batch_size=32, learning_rate=0.1, augment=False)
    copies, losses = graft(module, task, settings, grafting=Grafting(copies=3))
    assert len(copies) == 3
    assert copies[-1] is module
    assert len(losses) == 4
    assert losses[-1] < 0.6 * losses[0]
    weights = [dict(one.named_parameters())["conv2.weight"] for one in copies]
    for one, other in itertools.pairwise(weights):
        assert not torch.equal(one, other), "they see images in another order, at another rate"
        assert (one - other).norm() < one.norm()


def test_two_copies_leave_an_exchange_as_one():
    """Their alphas add up to 1: what the published formula comes to."""
    networks = [network(seed) for seed in range(2)]
    Grafting().exchange([one.state_dict() for one in networks])
    first, second = (one.state_dict() for one in networks)
    assert all(torch.allclose(first[name].float(), second[name].float(), atol=1e-6) for name in first)


def test_a_killed_training_resumes_to_the_same(task, tmp_path, stop_after):
    checkpoint = tmp_path / "training.safetensors"
    start = trace(task.model, task.example).module
    whole, losses = graft(copy.deepcopy(start), task, SETTINGS)
    with pytest.raises(KeyboardInterrupt):
        graft(copy.deepcopy(start), task, SETTINGS, (stop_after(9),), checkpoint=checkpoint)
    resumed, again = graft(copy.deepcopy(start), task, SETTINGS, checkpoint=checkpoint)
    assert again == losses
    for one, other in zip(whole, resumed, strict=True):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name


def test_plugs_that_learn_cannot_be_shared(task):
    network = trace(task.model, task.example)
    plug = ImportanceWeights(network.prunable, {g.name: torch.ones(g.size) for g in network.prunable})
    with pytest.raises(ValueError, match="expected plugs that learn nothing of their own, since copies share them"):
        graft(network.module, task, SETTINGS, (plug,))


def test_progress_counts_all_copies(task):
    seen = []
    graft(
        trace(task.model, task.example).module, task, SETTINGS, progress=lambda done, of, words: seen.append((done, of))
    )
    assert [done for done, _ in seen] == list(range(1, 2 * 2 * 6 + 1))
    assert {of for _, of in seen} == {24}


def test_grafting_alone_is_no_plain_training(task):
    start = trace(task.model, task.example).module
    plain = copy.deepcopy(start)
    tune(plain, task, SETTINGS)
    (_, grafted), _ = graft(copy.deepcopy(start), task, SETTINGS)
    assert not torch.equal(plain.state_dict()["conv1.weight"], grafted.state_dict()["conv1.weight"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"amplitude": 2}, r"amplitude of grafting must be in \[0, 1\], got 2"),
        ({"copies": 1}, r"grafting needs at least 2 copies, got 1"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        Grafting(**options)
