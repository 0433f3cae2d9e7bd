# SPDX-License-Identifier: Apache-2.0
"""Idle channels are found, whatever stands before or behind them, and go without changing what is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.quantize.folding import fold_factors
from gossamer.search.idle import cut_beside, in_original, keep_busy
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
