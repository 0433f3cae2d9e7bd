# SPDX-License-Identifier: Apache-2.0
"""check() is below 1e-10 for every exact cut, and sees every kind of wrong one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import check, surgery, trace
from gossamer.graph.calls import Rule
from gossamer.graph.rules import RULES


@pytest.mark.parametrize("seed", [0, 1])
def test_exact_cuts_pass(pattern, random_keep, seed):
    _, network = pattern
    assert network.check(network.cut(random_keep(network, seed)), seed) < 1e-10


def _found(network, keep):
    """Whether check() finds a wrong cut, by its error, by a shape, or because the cut network does not even run."""
    try:
        return network.check(network.cut(keep)) > 1e-6
    except ValueError as error:
        return "expected a cut" in str(error)


def _tampering(monkeypatch, wrong):
    """Make every cut keep other slots of some tensor: `wrong(name, dim, keep)` returns them."""
    names = {}

    def compacted(self, tensor, labelled):
        for dim in self._analysis.axes(labelled):
            keep = np.flatnonzero(wrong(labelled.source, dim, self.dim(labelled, dim)))
            tensor = tensor.detach().index_select(dim, torch.from_numpy(keep))
        names[labelled.source] = tuple(tensor.shape)
        return nn.Parameter(tensor) if tensor.is_floating_point() else tensor

    monkeypatch.setattr(surgery.Cut, "_compacted", compacted)


def _shifted(keep):
    """As many slots, but others."""
    return np.roll(keep, 1)


def test_the_tampering_itself_is_harmless(monkeypatch, traced, random_keep):
    _tampering(monkeypatch, lambda name, dim, keep: keep)
    _, network = traced("dense")
    assert not _found(network, random_keep(network))


@pytest.mark.parametrize(
    ("name", "tensor", "dim"),
    [
        ("plain", "features.3.weight", 1),  # reads other channels than are there
        ("plain", "features.3.bias", 0),
        ("plain", "hidden.weight", 1),
        ("dense", "norm.running_mean", 0),
        ("dense", "norm.running_var", 0),
        ("dense", "layers.1.0.bias", 0),
        ("padded residual", "b2.1.weight", 0),
        ("shuffle", "branches.1.0.0.weight", 1),
        ("excite", "act.weight", 0),
        ("excite", "scale", 0),
    ],
)
def test_wrong_slots_are_found(monkeypatch, traced, random_keep, name, tensor, dim):
    _tampering(monkeypatch, lambda n, d, keep: _shifted(keep) if (n, d) == (tensor, dim) else keep)
    _, network = traced(name)
    assert _found(network, random_keep(network))


def test_a_forgotten_bias_is_found(monkeypatch, traced, random_keep):
    """Too long for its layer."""
    _tampering(monkeypatch, lambda n, d, keep: keep | (n == "hidden.bias"))
    _, network = traced("plain")
    assert _found(network, random_keep(network))


def test_wrong_order_in_a_concatenation_is_found(monkeypatch):
    rule = RULES["cat"]

    def swapped(call):
        return rule.label(dataclasses.replace(call, arguments=call.arguments | {"tensors": call["tensors"][::-1]}))

    monkeypatch.setitem(RULES, "cat", Rule(swapped))
    network = trace(_Joined(), torch.zeros(1, 3, 6, 6))
    keep = {"left.weight": np.arange(4) < 1, "right.weight": np.arange(4) < 3}
    assert _found(network, keep)


class _Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.fc = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Linear(8, 2)

    def forward(self, x):
        return self.fc(torch.cat([self.left(x), self.right(x)], 1).mean((2, 3)))


@pytest.mark.parametrize(
    ("operator", "name"), [("slice", "slices"), ("split_with_sizes", "shuffle"), ("pad", "padded residual")]
)
def test_sizes_that_are_not_counted_again_are_found(monkeypatch, traced, random_keep, operator, name):
    monkeypatch.setitem(RULES, operator, Rule(RULES[operator].label))
    _, network = traced(name)
    assert _found(network, random_keep(network))


def test_a_cut_without_effect_proves_nothing():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.dead, self.fc = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Linear(4, 2)

        def forward(self, x):
            self.dead(x)
            return self.fc(self.used(x).mean((2, 3)))

    network = trace(Dead(), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"expected a cut that changes the outputs, got .* 0.0e\+00"):
        network.check(network.cut({"dead.weight": np.arange(4) < 2}))


def test_another_networks_cut_is_refused(traced, random_keep):
    dense, plain = traced("dense")[1], traced("plain")[1]
    with pytest.raises(ValueError, match=r"check: expected the name of a group of this network, got 'stem\.weight'"):
        plain.check(dense.cut(random_keep(dense)))
    once = plain.cut({"hidden.weight": np.arange(20) < 10})
    twice = once.cut({"hidden.weight": np.arange(10) < 5})
    once.kept, twice.kept = {}, {}
    with pytest.raises(ValueError, match=r"with 'hidden.weight' of shape \(20, 192\), got \(5, 192\)"):
        plain.check(twice)


class _Deep(nn.Module):
    """Residual blocks gated by sigmoids: on statistics that do not fit, outputs grow by powers of ten."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)) for _ in range(60))
        self.gates = nn.ModuleList(nn.Conv2d(8, 8, 1) for _ in range(60))
        self.fc = nn.Linear(8, 2)

    def forward(self, x):
        x = self.stem(x)
        for block, gate in zip(self.blocks, self.gates, strict=True):
            y = nn.functional.silu(block(x))
            x = x + 2 * y * gate(y.mean((2, 3), keepdim=True)).sigmoid()
        return self.fc(x.mean((2, 3)))


def test_depth_does_not_drown_the_comparison(random_keep, monkeypatch):
    """Rounding errors grow with the outputs: both forms must stay of one size, whatever is drawn."""
    sizes = []
    difference = check._difference
    monkeypatch.setattr(check, "_difference", lambda a, b: sizes.append(float(b[0].abs().max())) or difference(a, b))
    network = trace(_Deep(), torch.zeros(1, 3, 4, 4))
    assert network.check(network.cut(random_keep(network))) < 1e-12
    assert max(sizes) < 1e3 * min(sizes)


def test_outputs_that_are_no_numbers_prove_nothing():
    """max() over Python floats passes over a nan."""
    numbers, nan = torch.ones(2), torch.tensor([1.0, float("nan")])
    assert check._difference([nan], [numbers]) == float("inf")
    assert check._difference([numbers], [nan]) == float("inf")
    assert check._difference([numbers], [numbers]) == 0
