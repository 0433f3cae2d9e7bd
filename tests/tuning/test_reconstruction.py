# SPDX-License-Identifier: Apache-2.0
"""What was cut is made good by what is left, exactly where it can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.tuning.reconstruction import reconstruct
from gossamer.zoo.cifar_resnet import CifarResNet


def doubled(norm: bool) -> nn.Module:
    """A chain in which channels 3 to 5 of the first layer say twice what channels 0 to 2 say."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 6, 3, padding=1)
    with torch.no_grad():
        first.weight[3:] = 2 * first.weight[:3]
        first.bias[3:] = 2 * first.bias[:3]
    norms = [nn.BatchNorm2d(5)] if norm else []
    return nn.Sequential(
        first,
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, padding=1, bias=not norm),
        *norms,
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(320, 4),
    ).eval()


@pytest.mark.parametrize("norm", [False, True])
def test_channels_that_others_repeat_are_made_good(norm):
    network = trace(doubled(norm), torch.zeros(1, 3, 8, 8))
    smaller = network.cut({"0.weight": np.arange(6) < 3})
    images = [torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(4)]
    fresh = torch.randn(16, 3, 8, 8)

    def error():
        with torch.no_grad():
            return float((smaller.module.eval()(fresh) - network.module.eval()(fresh)).abs().max())

    before = error()
    reconstruct(network, smaller, images, ridge=1e-4)
    assert error() < 0.03 * before


def test_layers_of_ended_branches_are_passed_by():
    torch.manual_seed(0)
    network = trace(CifarResNet(14).eval(), torch.zeros(1, 3, 32, 32))
    keep = {"layer2.1.conv1.weight": np.zeros(32, np.bool_), "layer3.1.conv1.weight": np.arange(64) % 2 == 0}
    smaller = network.cut(keep)
    untouched = network.cut(keep)
    reconstruct(network, smaller, [torch.randn(32, 3, 32, 32)])
    changed = {
        name
        for name, tensor in smaller.tensors.items()
        if not torch.allclose(tensor, untouched.tensors[name], rtol=1e-3, atol=1e-5)
    }
    assert "layer3.1.conv2.weight" in changed, "it reads fewer channels"
    assert "layer1.0.conv1.weight" not in changed, "nothing before it was cut"
    with torch.no_grad():
        assert smaller.module.eval()(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_depthwise_layers_stay_as_the_cut_left_them():
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)).eval()
    network = trace(chain, torch.zeros(1, 3, 8, 8))
    smaller = network.cut({"0.weight": np.arange(8) < 5})
    before = smaller.tensors["1.weight"].clone()
    reconstruct(network, smaller, [torch.randn(32, 3, 8, 8)])
    assert torch.equal(smaller.tensors["1.weight"], before)
