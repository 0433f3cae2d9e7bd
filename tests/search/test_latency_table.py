# SPDX-License-Identifier: Apache-2.0
"""A table made of times that follow a rule finds the rule; multiples that are liked are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.search.latency_table import LatencyTable, fit_table, liked_multiple, probes, samples
from gossamer.zoo.cifar_resnet import CifarResNet


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return trace(CifarResNet(8), torch.zeros(1, 3, 32, 32))


def _rule(network, counts):
    """0.2 ms, 0.03 ms a convolution, and milliseconds a million multiply-adds by the size of the map."""
    slopes = {"32x32": 0.1, "16x16": 0.05, "8x8": 0.025}
    total = 0.2
    for kind, macs in zip(network.kinds, network.macs_of_uses_if(counts), strict=True):
        if macs and kind.startswith("conv"):
            total += 0.03 + slopes[kind.partition(" at ")[2]] * macs / 1e6
    return total


def test_finds_the_rule_behind_the_times(network):
    ends = {group.name for group in network.groups if group.removable and network.can_end(group.name)}
    counted = list(samples(network, ends, multiple=4))
    assert counted[0] == {group.name: group.size for group in network.groups if group.removable}
    assert any(0 in counts.values() for counts in counted)
    noise = np.random.default_rng(0).normal(1, 0.01, len(counted))
    times = [_rule(network, counts) * factor for counts, factor in zip(counted, noise, strict=True)]
    table = fit_table(network, counted, times, 4)
    assert table.error < 0.05
    other = {"layer1.0.conv1.weight": 0, "layer3.0.conv1.weight": 24, "conv1.weight": 12}
    assert table.milliseconds(network, other) == pytest.approx(_rule(network, other), rel=0.06)
    assert LatencyTable.from_json(table.to_json()) == table


def test_kinds_tell_kernels_and_maps_apart(network):
    assert network.kinds[0] == "conv2d 3x3 at 32x32"
    assert network.kinds[-1] == "linear"
    assert sum(network.macs_of_uses_if({})) == network.macs
    grouped = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8)), torch.zeros(1, 3, 8, 8))
    assert grouped.kinds == ("conv2d 3x3 at 6x6", "conv2d 3x3 in groups at 4x4")


def test_multiples(network):
    counted = probes(network)
    in_eights = [network.macs_if(counts) * (1.0 if number >= 4 else 2.0) for number, counts in enumerate(counted)]
    assert liked_multiple(network, counted, in_eights) == 8
    assert liked_multiple(network, counted, [network.macs_if(counts) for counts in counted]) == 1
    odd = counted[1]
    assert all(count % 2 for count in odd.values())
    for counts in samples(network, set(), multiple=8):
        assert all(count % 8 == 0 for count in counts.values())
