# SPDX-License-Identifier: Apache-2.0
"""Idle channels are found, whatever stands before or behind them, and go without changing what is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.quantize.folding import fold_factors
from gossamer.search import idle
from gossamer.search.idle import cut_beside, in_original, keep_busy, without_idle
from gossamer.zoo.cifar_resnet import CifarResNet

INNER = "layer2.1.conv1.weight"  # read by layer2.1.conv2 alone


@pytest.fixture
def network():
    torch.manual_seed(0)
    return trace(CifarResNet(14).eval(), torch.zeros(1, 3, 32, 32))


def silence(network, name: str, dim: int, channels: list[int]) -> None:
    with torch.no_grad():
        network.tensors[name].movedim(dim, 0)[channels] = 0


def test_nothing_is_idle_in_a_network_without_zeros(network):
    assert keep_busy(network) == {}


@pytest.mark.parametrize(("name", "dim"), [(INNER, 0), ("layer2.1.conv2.weight", 1)])
def test_filters_and_readers_of_zeros_alone_make_a_channel_idle(network, name, dim):
    silence(network, name, dim, [0, 5])
    keep = keep_busy(network)
    assert list(keep) == [INNER]
    assert np.flatnonzero(~keep[INNER]).tolist() == [0, 5]


def test_idle_channels_stay_where_the_runtime_would_like_the_count_less(network):
    silence(network, INNER, 0, [0, 5, 7, 8, 9, 10, 11, 12, 13, 14])
    assert keep_busy(network)[INNER].sum() == 22
    kept = keep_busy(network, multiple=8)[INNER]
    assert kept.sum() == 24
    assert kept[[1, 2, 3, 4, 6, *range(15, 32)]].all(), "those that are busy are among them"
    silence(network, INNER, 0, list(range(32)))
    assert not keep_busy(network, multiple=8)[INNER].any(), "a branch may still end"


def test_a_channel_of_the_stream_is_busy_while_one_block_writes_it(network):
    silence(network, "layer2.0.conv2.weight", 0, [3])
    assert keep_busy(network) == {}


def test_what_nothing_reads_goes_exactly(network):
    silence(network, "layer2.1.conv2.weight", 1, [1, 2, 30])
    images = torch.randn(4, 3, 32, 32)
    smaller, _ = cut_beside(network, keep_busy(network), {})
    assert smaller.macs < network.macs
    with torch.no_grad():
        torch.testing.assert_close(smaller.module.eval()(images), network.module.eval()(images), rtol=0, atol=1e-5)


def test_a_branch_of_zeros_ends(network):
    silence(network, INNER, 0, list(range(32)))
    keep = keep_busy(network)
    assert not keep[INNER].any()
    smaller, _ = cut_beside(network, keep, {})
    assert INNER not in smaller.tensors


def test_where_no_branch_can_end_a_channel_stays():
    chain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    network = trace(chain, torch.zeros(1, 3, 6, 6))
    silence(network, "0.weight", 0, list(range(8)))
    assert keep_busy(network)["0.weight"].sum() == 1


def test_what_stands_beside_the_weights_is_cut_like_them(network):
    silence(network, INNER, 0, [0, 5])
    keep = keep_busy(network)
    before = fold_factors(network.layers, network.tensors)
    smaller, cut = cut_beside(network, keep, before)
    after = fold_factors(smaller.layers, smaller.tensors)
    assert cut.keys() == after.keys()
    for name, factor in after.items():
        torch.testing.assert_close(cut[name], factor, rtol=0, atol=0)


def test_a_second_cut_is_known_in_the_channels_of_the_original(network):
    silence(network, INNER, 0, [0, 5])
    first = keep_busy(network)
    parent = network.cut(first)
    silence(parent, INNER, 0, [0, 4])  # in the original: 1 and 6
    second = keep_busy(parent)
    kept = in_original(network, parent, first, second)
    assert np.flatnonzero(~kept[INNER]).tolist() == [0, 1, 5, 6]
    twice = parent.cut(second).tensors
    for name, tensor in network.cut(kept).tensors.items():
        assert twice[name].shape == tensor.shape


# --- filters of zeros, and what their biases still say


def plain(padding: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=padding), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 16), nn.ReLU(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 2))


def flattened() -> nn.Module:
    """Each channel is read in four places, behind pooling that adds it up."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 2))


def grouped() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, groups=2), nn.Flatten(), nn.LazyLinear(2))


class OnlyScaled(nn.Module):
    """A batch norm behind the reader, which has no bias of its own."""

    def __init__(self):
        super().__init__()
        self.conv, self.reads, self.norm = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3, bias=False), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.norm(self.reads(torch.relu(self.conv(x)))).mean((2, 3))


def made(module: nn.Module, biases: float):
    """The network, of whose first layer the filters 0 and 5 (each part has one) are zero and all biases the same."""
    torch.manual_seed(0)
    module.eval()(torch.zeros(1, 3, 6, 6))
    network = trace(module, torch.zeros(1, 3, 6, 6))
    weight = network.layers[0].name
    silence(network, weight, 0, [0, 5])
    with torch.no_grad():
        network.tensors[weight.replace("weight", "bias")].fill_(biases)
    return network, weight


@pytest.mark.parametrize("biases", [0.5, -0.5, 0.0])
@pytest.mark.parametrize("make", [mlp, lambda: plain(0), flattened, grouped, OnlyScaled])
def test_the_constant_of_filters_of_zeros_goes_into_the_biases_behind_them(make, biases):
    network, name = made(make(), biases)
    images, keep = torch.randn(4, 3, 6, 6), keep_busy(network)
    assert np.flatnonzero(~keep[name]).tolist() == [0, 5]
    with torch.no_grad():
        expected = network.module.eval()(images)
        torch.testing.assert_close(without_idle(network, keep).module.eval()(images), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(cut_beside(network, keep, {})[0].module(images), expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(network.module.eval()(images), expected, rtol=0, atol=0)


class ReadTwice(nn.Module):
    """One layer reads two others."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.reads = nn.Linear(108, 8), nn.Linear(108, 8), nn.Linear(8, 2)

    def forward(self, x):
        x = x.flatten(1)
        return self.reads(torch.relu(self.first(x))) + 2 * self.reads(torch.relu(self.second(x)))


class NoBias(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.reads = nn.Linear(108, 8), nn.Linear(8, 2, bias=False)

    def forward(self, x):
        return self.reads(torch.relu(self.first(x.flatten(1))))


@pytest.mark.parametrize("make", [lambda: plain(1), NoBias, ReadTwice])
def test_where_no_bias_can_say_it_the_channel_is_busy(make):
    """At the borders of a padded map its reader sees less of it."""
    module = make()
    network, name = made(module, 0.5)
    if make is ReadTwice:
        silence(network, "second.weight", 0, [0, 5])
    assert keep_busy(network) == {}
    with torch.no_grad():
        for bias in ("0.bias", "first.bias", "second.bias"):
            if bias in network.tensors:
                network.tensors[bias].fill_(-0.5)  # behind the ReLU: nothing
    images, keep = torch.randn(4, 3, 6, 6), keep_busy(network)
    assert np.flatnonzero(~keep[name]).tolist() == [0, 5]
    with torch.no_grad():
        expected = network.module.eval()(images)
        torch.testing.assert_close(without_idle(network, keep).module.eval()(images), expected, rtol=0, atol=1e-6)


def test_behind_a_padded_layer_a_batch_norm_takes_the_constant_over_away_from_the_borders(network):
    silence(network, INNER, 0, [0, 5])
    with torch.no_grad():
        network.tensors[INNER.replace("conv1.weight", "bn1.bias")].fill_(0.7)
    keep = keep_busy(network)
    assert np.flatnonzero(~keep[INNER]).tolist() == [0, 5]
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected, folded, bare = (
            one.module.eval()(images) for one in (network, without_idle(network, keep), network.cut(keep))
        )
    assert (folded - expected).abs().mean() < 0.3 * (bare - expected).abs().mean()


def test_what_no_weight_reads_is_not_idle():
    assert idle._any([], 3).tolist() == [True] * 3
