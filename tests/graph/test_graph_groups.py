# SPDX-License-Identifier: Apache-2.0
"""What the groups of known networks are, and how they show themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import explain, trace


def _sizes(network):
    return {group.name: group.size for group in network.groups}


def test_padded_channels_are_channels_of_their_own(traced):
    _, network = traced("padded residual")
    assert _sizes(network) == {
        "stem.0.weight": 8,  # runs through both stages: slots 4 to 11 of the second
        "a1.0.weight": 8,
        "b1.0.weight": 16,
        "b2.0.weight": 8,  # born as padding: slots 0 to 3 and 12 to 15
        "fc.weight": 10,
    }
    born = network.groups[3]
    assert born.members[0].index.tolist() == [[i] for i in [0, 1, 2, 3, 12, 13, 14, 15]]
    through = next(m for m in network.groups[0].members if m.tensor == "fc.weight")
    assert through.index.tolist() == [[i] for i in range(4, 12)]


def test_every_pattern_has_the_expected_groups(traced):
    assert _sizes(traced("plain")[1]) == {
        "features.0.weight": 8,
        "features.3.weight": 12,
        "hidden.weight": 20,
        "fc.weight": 10,
    }
    assert list(_sizes(traced("dense")[1]).values()) == [8, 4, 4, 4, 5]
    assert _sizes(traced("grouped")[1]) == {
        "stem.0.weight": 16,
        "reduce.0.weight": 24,
        "many.0.weight": 24,
        "widen.0.weight": 18,
        "few.0.weight": 12,
        "fc.weight": 5,
    }
    assert [group.multiple_of for group in traced("grouped")[1].groups] == [1, 8, 8, 2, 2, 1]
    assert _sizes(traced("excite")[1]) == {"stem.0.weight": 8, "expand.weight": 16, "squeeze.weight": 6, "fc.weight": 5}
    assert _sizes(traced("shared")[1]) == {"stem.weight": 4, "fc.weight": 5}  # 4 groups of a group norm
    assert _sizes(traced("two heads")[1])["mix.0.weight[0:4]"] == 4
    assert _sizes(traced("two heads")[1])["mix.0.weight[4:12]"] == 8
    shuffled = [size for name, size in _sizes(traced("shuffle")[1]).items() if name.startswith("stem.0.weight[")]
    assert sum(shuffled) == 16, "a shuffle couples nothing"


def test_matrices_of_a_group(traced):
    model, network = traced("plain")
    tensors = network.module.state_dict()
    group = network.groups[1]
    (rows,) = group.rows(tensors)
    (columns,) = group.columns(tensors)
    torch.testing.assert_close(rows, model.features[3].weight.flatten(1))
    assert columns.shape == (12, 16 * 20)  # 4 x 4 pixels of each channel, read by 20 neurons
    torch.testing.assert_close(columns[5], model.hidden.weight[:, 80:96].T.flatten())
    assert group.scales(tensors) == []


def test_norm_vectors_of_a_group(traced):
    model, network = traced("padded residual")
    tensors = dict(network.module.named_parameters())
    scales, shifts = network.groups[0].scales(tensors), network.groups[0].shifts(tensors)
    torch.testing.assert_close(scales, [model.stem[1].weight, model.a2[1].weight, model.b2[1].weight[4:12]])
    torch.testing.assert_close(shifts[2], model.b2[1].bias[4:12])
    (own,) = network.groups[3].scales(tensors)
    torch.testing.assert_close(own, model.b2[1].weight[[0, 1, 2, 3, 12, 13, 14, 15]])


def test_a_depthwise_multiplier_gives_longer_rows(traced):
    _, network = traced("excite")
    tensors = network.module.state_dict()
    expand, depthwise, excite = network.groups[1].rows(tensors)
    assert (expand.shape, depthwise.shape, excite.shape) == ((16, 8), (16, 2 * 9), (16, 2 * 6))
    assert [scale.shape for scale in network.groups[1].scales(tensors)] == [(16,), (16,)]


def test_print(traced):
    _, network = traced("plain")
    assert str(network.groups[1]) == (
        "features.3.weight: 12 channels, removable\n"
        "  row    features.3.weight dim 0\n"
        "  bias   features.3.bias dim 0\n"
        "  column hidden.weight dim 1, 16 slots each"
    )
    assert "10 channels, stays: it is an output of the network" in str(network.groups[-1])


def test_explain_accounts_for_every_output_channel(pattern):
    _, network = pattern
    for layer in network.layers:
        rows = [row for row in explain(network) if row.layer == layer.name]
        assert sum(row.channels for row in rows) == layer.outputs
        assert all(row.removable or row.why for row in rows)


def test_explain_a_single_output():
    network = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 1, 1)), torch.zeros(1, 3, 4, 4))
    assert [(row.layer, row.channels, row.why) for row in explain(network)] == [
        ("0.weight", 4, ""),
        ("1.weight", 1, "it is a single channel"),
    ]


def test_freeze_protects_a_module(traced):
    build = type(traced("padded residual")[0])
    network = trace(build(), torch.zeros(1, 3, 16, 16), freeze=("b1", "stem.0.weight"))
    why = {group.name: group.reason for group in network.groups}
    assert why["b1.0.weight"] == "'b1' is frozen"
    assert why["stem.0.weight"] == "'stem.0.weight' is frozen"
    assert why["a1.0.weight"] == why["b2.0.weight"] == ""


def test_freeze_of_an_unknown_name(traced):
    model, network = traced("padded residual")
    with pytest.raises(ValueError, match=r"freeze: expected .* parameter or module .*, got 'stm'; did you mean stem"):
        trace(model, network.example, freeze=("stm",))


class Unknown(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
        self.free, self.fc = nn.Conv2d(8, 6, 1), nn.Linear(6, 2)

    def forward(self, x):
        x = torch.cumprod(self.before(x), 1)
        return self.fc(self.free(self.after(x)).mean((2, 3)))


def test_an_unknown_operator_protects_what_it_touches_and_says_so():
    network = trace(Unknown(), torch.zeros(1, 3, 4, 4))
    groups = {group.name: group for group in network.groups}
    assert not groups["before.weight"].removable
    assert "Gossamer has no rule for the operator cumprod in the network's forward" in groups["before.weight"].reason
    assert "test_graph_groups.py:" in groups["before.weight"].reason
    assert groups["after.weight"].removable
    assert groups["free.weight"].removable
    keep = {"after.weight": np.arange(8) < 3, "free.weight": np.arange(6) > 2}
    assert network.check(network.cut(keep)) < 1e-10


def test_a_norm_over_channels_is_not_exact():
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.fc = nn.Conv2d(3, 8, 1), nn.LayerNorm(8), nn.Linear(8, 2)

        def forward(self, x):
            return self.fc(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))

    network = trace(Normed(), torch.zeros(1, 3, 4, 4))
    group = network.groups[0]
    assert group.removable
    assert not group.exact
    assert "normalised" in group.reason
    assert "not exact" in str(group)
    smaller = network.cut({group.name: np.arange(8) < 4})
    assert smaller.module(torch.zeros(2, 3, 4, 4)).shape == (2, 2)
    assert network.check(smaller) > 1e-3


def test_heads_lose_the_same_positions_and_branches_the_same_channels(traced):
    sizes = _sizes(traced("attention")[1])
    assert sizes == {"stem.0.weight": 12, "qkv.weight": 6, "branches.0.0.weight": 8, "fc.weight": 5}


def test_a_channel_that_is_read_alone_stays():
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 1), nn.Linear(8, 2)

        def forward(self, x):
            x = self.conv(x)
            return self.fc(x.mean((2, 3))), x[:, 3].mean((1, 2))

    network = trace(Alone(), torch.zeros(1, 3, 4, 4))
    one = next(group for group in network.groups if not group.removable and group.size == 1)
    assert one.members[0].index.tolist() == [[3]]
    assert "it is read alone, at select" in one.reason
    keep = {group.name: np.arange(group.size) > 1 for group in network.groups if group.removable}
    assert network.check(network.cut(keep)) < 1e-10
