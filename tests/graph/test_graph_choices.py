# SPDX-License-Identifier: Apache-2.0
"""Where channels can go in more than one way: grouped convolutions, heads of attention, norms over channels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gossamer.graph import Choices, trace


def _named(network):
    return {group.name: group for group in network.groups}


def _all_exact(network, *, but=()):
    return [g.reason for g in network.groups if not (g.exact and g.removable) and g.name not in but]


@pytest.mark.parametrize("name", ["grouped", "shuffle", "shared", "attention", "positions", "upward", "layer norms"])
def test_the_other_choices_are_exact_too(name, traced, random_keep):
    _, network = traced(name, Choices(grouped="whole", heads="whole", norms="zeros"))
    assert network.check(network.cut(random_keep(network))) < 1e-10


def test_heads_shrink_or_go(traced):
    narrow, whole = (_named(traced("positions", Choices(heads=heads))[1]) for heads in ("narrow", "whole"))
    assert narrow["qkv.weight"].size == 4, "queries, keys and values lose the same of 4 positions in each of 3 heads"
    assert whole["qkv.weight"].size == 3
    assert [m.tensor for m in whole["qkv.weight"].members if m.tensor == "table"] == ["table"], "its row goes too"
    network = traced("positions", Choices(heads="whole"))[1]
    smaller = network.cut({"qkv.weight": np.array([True, False, True])})
    assert smaller.tensors["qkv.weight"].shape == (24, 12)
    assert smaller.tensors["table"].shape == (2, 31)
    assert network.check(smaller) < 1e-10


def test_narrow_heads_keep_the_scale_of_attention(traced):
    """1 / sqrt(d) is a number in the fused operator only where it is written: the original d counts."""
    _, network = traced("positions")
    fused = next(g for g in network.groups if g.name.startswith("fused.weight"))
    smaller = network.cut({fused.name: np.arange(fused.size) < 1})
    assert network.check(smaller) < 1e-10


def test_a_shuffle_between_grouped_convolutions_leaves_a_choice(traced):
    first = _named(traced("shuffled groups")[1])["first.0.weight"]
    assert (first.size, first.multiple_of) == (16, 4), "2 groups before times 2 groups after the shuffle"
    assert np.bincount(first.part).tolist() == [4, 4, 4, 4]


def test_whole_groups_go_when_asked(traced):
    _, network = traced("grouped", Choices(grouped="whole"))
    assert _named(network)["reduce.0.weight"].size == 8, "8 groups of 3"
    assert all(group.multiple_of == 1 for group in network.groups)


def test_standardised_weights_are_folded_and_then_exact(traced):
    model, network = traced("standardised")
    assert _all_exact(network, but=("fc.weight",)) == []
    assert sorted(set(model.state_dict()) - set(network.module.state_dict())) == ["body.gain", "stem.gain"]
    x = torch.randn(2, 3, 8, 8)
    for training in (False, True):
        expected = copy.deepcopy(model).train(training)(x)
        torch.testing.assert_close(network.copy().module.train(training)(x), expected)


def test_a_weight_that_is_used_raw_elsewhere_is_not_folded():
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 4, 1), torch.nn.Linear(4, 2)

        def forward(self, x):
            weight = self.conv.weight - self.conv.weight.mean()
            y = torch.nn.functional.conv2d(x, weight) + self.conv(x)
            return self.fc(y.mean((2, 3)))

    model = Tied()
    network = trace(model, torch.zeros(1, 3, 4, 4))
    torch.testing.assert_close(network.tensors["conv.weight"], model.conv.weight)
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(network.module.eval()(x), model.eval()(x))


def test_norms_over_channels_are_exact_with_zeros(traced):
    model, plain = traced("layer norms")
    assert any("normalised" in reason for reason in _all_exact(plain, but=("fc.weight",)))
    _, network = traced("layer norms", Choices(norms="zeros"))
    assert _all_exact(network, but=("fc.weight",)) == []
    x = torch.randn(2, 3, 6, 6)
    torch.testing.assert_close(network.module.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.copy().module.train()(x), copy.deepcopy(model).train()(x), rtol=1e-4, atol=1e-5)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="heads must be one of narrow, whole, got 'half'"):
        Choices(heads="half")
