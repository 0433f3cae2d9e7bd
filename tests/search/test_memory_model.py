# SPDX-License-Identifier: Apache-2.0
"""The memory predicted for channel counts is what the graph of the network cut to them takes, to the byte."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gossamer.graph import trace
from gossamer.measure.working_memory import working_memory
from gossamer.quantize.static_int8 import quantize_int8
from gossamer.runtime.export import export_onnx
from gossamer.search.frontier import allocate
from gossamer.search.latency_table import blindly_cut
from gossamer.search.memory_model import MemoryModel
from gossamer.zoo.cifar_densenet import CifarDenseNet
from gossamer.zoo.cifar_resnet import CifarResNet


class Gates(nn.Module):
    """Squeeze and excitation, SiLU, a depthwise convolution, a constant scale, slices, a concatenation, a flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.widen, self.deep = nn.Conv2d(8, 24, 1), nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.squeeze, self.excite = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        self.narrow, self.scale = nn.Conv2d(24, 8, 1), nn.Parameter(torch.full((8, 1, 1), 0.1))
        self.side, self.fc = nn.Conv2d(8, 10, 1), nn.Linear(18 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x)))
        y = F.hardswish(self.deep(F.relu6(self.widen(x))))
        y = y * self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        x = x + self.scale * self.narrow(y)
        x = torch.cat([F.max_pool2d(x, 2), self.side(x[:, :, ::2, ::2])], 1)
        return self.fc(x.flatten(1))


class Branches(nn.Module):
    """Two branches that meet in one convolution: each may end, but not both."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 6, 1), nn.Conv2d(14, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([F.relu(self.a(x)), F.relu(self.b(x))], 1)).mean((2, 3))


class Bottleneck(nn.Module):
    """A block of three convolutions, the first of them wide: it is not needed where the second gives nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 32, 1)
        self.deep, self.back = nn.Conv2d(32, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return (x + self.back(F.relu(self.deep(F.relu(self.wide(x)))))).mean((2, 3))


NETWORKS = {
    "residual": (lambda: CifarResNet(8), 32),
    "dense": (lambda: CifarDenseNet(depth=7, growth=6), 16),
    "gates": (Gates, 8),
    "branches": (Branches, 8),
    "bottleneck": (Bottleneck, 8),
}


@pytest.fixture(scope="module")
def network_of():
    found = {}

    def traced(name):
        if name not in found:
            torch.manual_seed(0)
            build, size = NETWORKS[name]
            found[name] = trace(build(), torch.randn(2, 3, size, size))
        return found[name]

    return traced


def measured(network, counts):
    cut = blindly_cut(network, counts)
    return working_memory(export_onnx(cut.module, cut.example)).bytes


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_whole_narrower_and_with_ended_branches(name, network_of):
    network = network_of(name)
    model, rng = MemoryModel(network, 4.0), np.random.default_rng(1)
    assert model.bytes({}) == measured(network, {})
    narrower = {group.name: max(1, int(rng.integers(1, group.size))) for group in network.prunable}
    assert model.bytes(narrower) == measured(network, narrower) < model.bytes({})
    ending = [group.name for group in network.prunable if network.can_end(group.name)]
    ended = narrower | dict.fromkeys(ending[::2], 0)
    assert ending
    assert model.bytes(ended) == measured(network, ended)


def test_the_width_of_the_first_stage_counts_and_the_inside_of_its_blocks_does_not(network_of):
    model = MemoryModel(network_of("residual"), 4.0)
    assert model.bytes({"layer1.0.conv1.weight": 1}) == model.bytes({}) == 4 * 3 * 16 * 32 * 32
    assert model.bytes({"conv1.weight": 8}) == 4 * (8 + 16 + 8) * 32 * 32
    assert model.bytes({"layer1.0.conv1.weight": 0}) == 4 * 2 * 16 * 32 * 32  # nothing but a constant is added


def test_what_an_ended_branch_read_is_not_made(network_of):
    network = network_of("bottleneck")
    ended = {"deep.weight": 0}
    assert MemoryModel(network, 4.0).bytes({}) == 4 * 64 * (8 + 32 + 8)
    assert MemoryModel(network, 4.0).bytes(ended) == measured(network, {"stem.weight": 8, **ended}) == 4 * 64 * (8 + 8)


def test_int8_is_scaled_by_what_was_measured(network_of):
    network = network_of("residual")
    images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    counts = {"conv1.weight": 8}

    def in_int8(cut):
        return working_memory(quantize_int8(export_onnx(cut.module, cut.example), [images], largest=64)).bytes

    model = MemoryModel.of(network, in_int8(network))
    assert model.scale == 1
    assert model.bytes(counts) == in_int8(blindly_cut(network, counts))
    assert model.input_bytes == 3 * 32 * 32


def test_the_narrowest_keeps_an_output(network_of):
    network = network_of("branches")
    model = MemoryModel(network, 4.0)
    assert model.bytes({"a.weight": 0, "b.weight": 0}) == math.inf
    narrowest = model.narrowest()
    assert sorted(narrowest.values()) == [0, 1]
    assert model.bytes(narrowest) == 4 * 64 * (1 + 4)  # one channel of a branch, and the last convolution's four


def test_only_what_stands_at_the_peak_is_cut(network_of):
    """The first stage, whose block reads, widens and adds: 12 + 14 + 12 of 3 x 16 channels are within 0.8 of them."""
    network = network_of("residual")
    model = MemoryModel(network, 4.0)
    whole = {group.name: group.size for group in network.prunable}
    options = {name: list(range(1, size + 1)) for name, size in whole.items()}
    counts = allocate(options, lambda name, count: (1 - count / whole[name]) ** 2, model.bytes, 0.8 * model.bytes({}))
    assert counts == whole | {"conv1.weight": 12, "layer1.0.conv1.weight": 14}
