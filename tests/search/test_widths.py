# SPDX-License-Identifier: Apache-2.0
"""Which channels go: in the original's coordinates, whatever went before; and better than one threshold over norms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gossamer.described_task import task_from
from gossamer.graph import trace
from gossamer.rates import Global, counts_within
from gossamer.search.frontier import allocate
from gossamer.search.sensitivity import Sensitivity, measure_sensitivities
from gossamer.search.widths import TENSOR_BYTES, Widths, choose_channels, scores_of
from gossamer.tuning.batch_norm import reestimate_batch_norms
from gossamer.tuning.reconstruction import reconstruct
from gossamer.zoo.cifar_resnet import CifarResNet

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples" / "cifar10"


def test_a_second_cut_is_known_in_the_channels_of_the_original():
    torch.manual_seed(0)
    original = trace(CifarResNet(8), torch.zeros(1, 3, 32, 32))
    sizes = {group.name: group.size for group in original.groups if group.removable}
    first = {name: size * 3 // 4 for name, size in sizes.items()} | {"layer2.0.conv1.weight": 0}
    keep, parent = choose_channels(original, original, first)
    with torch.no_grad():
        for parameter in parent.module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # as if trained: other channels are worth more now
    second = {name: min(count, sizes[name] // 2) for name, count in first.items()} | {"layer3.0.conv1.weight": 0}
    again, smaller = choose_channels(original, parent, second)
    assert {name: int(row.sum()) for name, row in again.items()} == second
    assert all((keep[name] >= row).all() for name, row in again.items())  # nothing comes back
    assert parent.check(smaller) < 1e-10
    once = original.cut(again)
    assert {n: v.shape for n, v in once.module.state_dict().items()} == {
        n: v.shape for n, v in smaller.module.state_dict().items()
    }
    once.module.load_state_dict(smaller.module.state_dict())
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(once.module.eval()(x), smaller.module.eval()(x))


def test_channels_of_a_cut_are_found_again():
    original = trace(CifarResNet(8), torch.zeros(1, 3, 32, 32))
    group = next(group for group in original.groups if group.name == "layer2.0.conv1.weight")
    keep = np.arange(group.size) % 3 == 0
    smaller = original.cut({group.name: keep})
    places = original.channels_of(smaller)
    assert places[group.name] == [(group.name, int(place)) for place in np.flatnonzero(keep)]
    assert set(places) == {group.name for group in original.groups}


def test_where_bytes_count_the_layers_whose_bytes_are_many_are_cut():
    """Every group loses alike; the bits of one late layer are many, its multiply-adds few."""
    torch.manual_seed(0)
    network = trace(CifarResNet(8), torch.zeros(1, 3, 32, 32))
    inner = {f"layer{stage}.0.conv1.weight": 16 * 2 ** (stage - 1) for stage in (1, 2, 3)}
    options = {name: list(range(2, size + 1, 2)) for name, size in inner.items()}
    alike = {name: Sensitivity((0, size), (1.0, 0.0)) for name, size in inner.items()}
    widths = Widths(network, options, alike, network.macs_if)
    bits = {layer.name: 0.5 for layer in network.layers} | {"layer3.0.conv2.weight": 6.0}
    coded = widths.in_bytes(bits)
    weights = {layer.name: math.prod(layer.shape) for layer in network.layers}
    assert network.weights_if({}) == weights
    everything = sum(weights[name] * bits[name] / 8 + TENSOR_BYTES for name in weights)
    assert coded.cost({}) == pytest.approx(everything)
    shares = [
        {name: count / inner[name] for name, count in chosen.within(0.7, {}).items()} for chosen in (widths, coded)
    ]
    by_macs, by_bytes = shares
    last = "layer3.0.conv1.weight"
    assert by_bytes[last] == min(by_bytes.values()) < by_macs[last]
    assert coded.cost({name: round(share * inner[name]) for name, share in by_bytes.items()}) <= 0.7 * everything


def test_a_branch_that_ends_takes_no_bytes_and_unknown_layers_take_32_bits():
    network = trace(CifarResNet(8), torch.zeros(1, 3, 32, 32))
    widths = Widths(network, {}, {}, network.macs_if)
    left = {name: n for name, n in network.weights_if({}).items() if not name.startswith("layer2.0.conv")}
    ended = widths.bytes_if({"layer2.0.conv1.weight": 0}, {})
    assert ended == pytest.approx(sum(4 * n + TENSOR_BYTES for n in left.values()))


@pytest.mark.slow
def test_loses_less_than_one_threshold_over_norms():
    """ResNet-20 without a fifth of its multiply-adds, before any tuning, on images that nothing was measured on."""
    task = task_from(
        data=f"cifar10:{EXAMPLES}",
        model="resnet20",
        weights=EXAMPLES / "resnet20.safetensors",
        preset="cifar10-imagenet-stats",
    )
    network = trace(task.model.eval(), task.example)
    generator = torch.Generator().manual_seed(0)
    batches = [x for x, _ in task.batches(task.calibration, 250, generator=generator, augment=True)][:2]
    scores = scores_of(network)
    sensitivities = dict(measure_sensitivities(network, scores, batches[:1], task.imitation, may_end=set()))
    budget = 0.8 * network.macs
    ours = allocate(
        {name: range(2, score.size + 1, 2) for name, score in scores.items()},
        lambda name, count: sensitivities[name].loss(count),
        network.macs_if,
        budget,
    )
    inside = [group for group in network.groups if group.name in scores and len(group.rows(network.tensors)) == 1]
    norms = {group.name: scores[group.name] for group in inside}  # what sums tie together would lose even more
    theirs = counts_within(Global(scaled=True), norms, network.macs_if, budget)

    images, labels = next(task.batches(task.selection, 1000))

    def accuracy(counts, refit=False):
        smaller = choose_channels(network, network, counts)[1]
        if refit:
            reconstruct(network, smaller, batches)
        reestimate_batch_norms(smaller.module, batches)
        with torch.no_grad():
            return float((smaller.module.eval()(images).argmax(1) == labels).float().mean())

    assert ours is not None
    assert network.macs_if(ours) <= budget >= network.macs_if(theirs)
    assert accuracy(ours) > accuracy(theirs) + 0.03
    half = {group.name: -(-group.size // 2) for group in inside}
    assert accuracy(half, refit=True) > accuracy(half) + 0.05
