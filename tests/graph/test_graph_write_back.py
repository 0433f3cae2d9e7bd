# SPDX-License-Identifier: Apache-2.0
"""A cut network as an object of the user's class, where its forward allows it; the line that does not, where not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

import gossamer
from gossamer.graph import Choices, trace
from gossamer.graph.write_back import _compare
from gossamer.plan import Plan


@pytest.mark.parametrize("name", ["plain", "padded residual", "dense", "grouped", "excite", "decoder", "shared"])
def test_the_module_runs_at_its_new_widths(traced, random_keep, name):
    model, network = traced(name)
    if name == "padded residual":
        pytest.skip("its shortcut pads a fixed number of channels: below")
    keep = random_keep(network)
    own, smaller = network.cut(keep, into="module"), network.cut(keep)
    assert type(own) is type(model)
    inputs = [torch.randn(2, *leaf.shape[1:]) for leaf in network.example]
    for training in (False, True):
        if training and name == "plain":
            continue  # dropout
        expected, got = smaller.module.train(training)(*inputs), own.train(training)(*inputs)
        for a, b in zip(pytree.tree_leaves(expected), pytree.tree_leaves(got), strict=True):
            torch.testing.assert_close(a, b)
    assert {n: p.shape for n, p in own.state_dict().items()} == {
        n: p.shape for n, p in smaller.module.state_dict().items()
    }


def test_attributes_state_the_new_widths(traced):
    _, network = traced("excite")
    own = network.cut({"stem.0.weight": np.arange(8) < 6, "expand.weight": np.arange(16) < 5}, into="module")
    assert (own.stem[0].out_channels, own.stem[1].num_features) == (6, 6)
    assert (own.depthwise.in_channels, own.depthwise.out_channels, own.depthwise.groups) == (5, 10, 5)
    assert (own.act.num_parameters, own.norm.num_features) == (5, 10)
    assert (own.fc.in_features, own.fc.out_features) == (6, 5)
    _, network = traced("upward")
    own = network.cut({}, into="module")
    assert (own.up.in_channels, own.up.out_channels, own.up.groups) == (12, 18, 3)


def test_what_is_shared_stays_shared(traced, random_keep):
    _, network = traced("shared")
    own = network.cut(random_keep(network), into="module")
    assert own.again.weight is own.twice.weight


def test_the_original_is_not_touched(traced, random_keep):
    model, network = traced("dense")
    before = copy.deepcopy(model.state_dict())
    network.cut(random_keep(network), into="module")
    torch.testing.assert_close(model.state_dict(), before)


class Written(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 1), nn.Linear(8 * 4, 2)

    def forward(self, x):
        x = self.conv(x)
        return self.fc(x.view(-1, 8 * 4))


class Sliced(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 8, 1), nn.Linear(4, 2), nn.Linear(8, 2)

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        return self.a(x[:, 2:6]) + self.b(x)


def test_a_width_written_into_forward_is_named():
    network = trace(Written(), torch.zeros(1, 3, 2, 2))
    with pytest.raises(
        ValueError, match=r"expected a forward that runs .* at test_graph_write_back.py:\d+ `return self"
    ):
        network.cut({"conv.weight": np.arange(8) < 4}, into="module")
    assert type(network.cut({}, into="module")) is Written


def test_a_slice_that_means_other_channels_now_is_found():
    network = trace(Sliced(), torch.zeros(1, 3, 2, 2))
    outside, inside = (group.name for group in network.groups if group.removable)
    keep = {outside: np.array([True, False, False, True]), inside: np.arange(4) < 2}  # 0, 2, 3, 7: 2:6 is 3, 7 now
    with pytest.raises(ValueError, match=r"computes the same .*widths are written there: .*write_back.py:\d+"):
        network.cut(keep, into="module")


def test_padding_by_a_number_is_named(traced):
    _, network = traced("padded residual")
    born = network.groups[3].name
    with pytest.raises(ValueError, match=r"widths are written there: in the network's forward \(conftest.py:\d+\)"):
        network.cut({born: np.arange(8) < 3}, into="module")


def test_resize_takes_a_plan_and_loads_the_weights_of_the_cut_network(traced, random_keep):
    model, network = traced("dense")
    keep = random_keep(network)
    smaller = network.cut(keep)
    with torch.no_grad():
        for parameter in smaller.module.parameters():
            parameter.add_(0.1)  # trained since
    plan = Plan.from_json(Plan().with_channels(keep).to_json())
    own = gossamer.resize(copy.deepcopy(model), plan, network.example)
    own.load_state_dict(smaller.module.state_dict())
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(own.eval()(x), smaller.module.eval()(x))


def test_standardised_weights_cannot_be_written_back(traced):
    _, network = traced("standardised")
    with pytest.raises(ValueError, match=r"expected a forward that .*use the traced network"):
        network.cut({"stem.weight": np.arange(8) < 4}, into="module")


def test_whole_groups_change_the_number_of_groups(traced):
    _, network = traced("grouped", Choices(grouped="whole"))
    own = network.cut({"reduce.0.weight": np.arange(8) < 5}, into="module")
    assert (own.many[0].in_channels, own.many[0].groups) == (15, 5)


def test_another_destination_is_refused(traced):
    with pytest.raises(ValueError, match="into must be 'network' or 'module', got 'file'"):
        traced("dense")[1].cut({}, into="file")


def test_a_copy_that_gives_no_numbers_is_refused():
    """One output is right and the other NaN: the largest difference is no number either."""

    class Two(nn.Module):
        def __init__(self, shift):
            super().__init__()
            self.shift = shift

        def forward(self, x):
            return x, x + self.shift

    smaller, own = Two(0.0), Two(float("nan"))
    with pytest.raises(ValueError, match="got a relative difference of nan"):
        _compare(own, smaller, (torch.zeros(2, 3),), ())
