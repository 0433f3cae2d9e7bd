# SPDX-License-Identifier: Apache-2.0
"""A network takes on the values of its file: what it computes then is what the file computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.quantize.folding import settle
from gossamer.quantize.integers import fine_unit, tensors
from gossamer.runtime.export import export_onnx
from gossamer.runtime.weights import split_weights


class Kinds(nn.Module):
    """Layers with a norm, with a bias, with both, with neither; one channel is dead."""

    def __init__(self) -> None:
        super().__init__()
        self.normed = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.both = nn.Sequential(nn.Conv2d(8, 8, 3, groups=2), nn.BatchNorm2d(8), nn.ReLU())
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 6, 2, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.grouped_up = nn.Sequential(nn.ConvTranspose2d(6, 6, 2, groups=2, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.bare = nn.Conv2d(6, 6, 1, bias=False)
        self.tokens = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 9)])  # products of matrices, square and not
        self.head = nn.Linear(9, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bare(self.grouped_up(self.up(self.both(self.normed(x))))))
        x = x.flatten(2).transpose(1, 2)
        for layer in self.tokens:
            x = torch.relu(layer(x))
        return self.head(x.mean(1))


@pytest.fixture
def network():
    torch.manual_seed(0)
    model, images = Kinds(), torch.randn(16, 3, 12, 12)
    for norm in (layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    model.train()
    for _ in range(20):
        model(images)
    with torch.no_grad():
        model.normed[1].weight[2] = 0
    return trace(model.eval(), images[:1])


def test_a_settled_network_computes_what_its_file_does(network):
    images = torch.randn(8, 3, 12, 12)
    before = network.module(images)
    exported = split_weights(export_onnx(network.module, network.example))[1]
    units = {name: fine_unit(weight, 0.3) for name, weight in exported.items() if weight.ndim > 1}
    stored = {tensor.name: tensor.decoded() for tensor in tensors(exported, units)}
    assert exported["tokens.1.weight"].shape == (6, 9), "the graph should hold it the other way round"
    settle(network, exported, stored)
    again = split_weights(export_onnx(network.module, network.example))[1]
    assert again.keys() == stored.keys()
    for name, values in stored.items():
        assert again[name] == pytest.approx(values, rel=1e-5, abs=1e-6 * float(np.abs(values).max())), name
    assert (network.module(images) - before).abs().max() > 0.005, "the rounding should show"
