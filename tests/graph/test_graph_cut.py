# SPDX-License-Identifier: Apache-2.0
"""Cuts are exact: the cut network equals the user's own module with the reading weights really set to zero."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils import _pytree as pytree

from gossamer.graph import Choices, trace


def _difference(expected, got):
    pairs = zip(pytree.tree_leaves(expected), pytree.tree_leaves(got), strict=True)
    return max(float(((a - b).abs().max() / a.abs().max()).detach()) for a, b in pairs)


def _doubles(network, batch=3):
    torch.manual_seed(5)
    return tuple(torch.randn(batch, *leaf.shape[1:], dtype=torch.float64) for leaf in network.example)


@pytest.mark.parametrize("training", [False, True])
def test_equals_the_silenced_module(pattern, random_keep, silenced, training):
    model, network = pattern
    if training and any(call.name == "dropout" for call in network._analysis.calls[True]):
        pytest.skip("dropout draws other numbers for other shapes; check() compares this form without it")
    if any(call.name == "matmul" for call in network._analysis.calls[False]):
        pytest.skip("in attention activations read activations: there are no weights to set to zero")
    keep = random_keep(network)
    smaller = network.cut(keep)
    inputs = _doubles(network)
    expected = silenced(model, network, keep).train(training)(*inputs)
    got = copy.deepcopy(smaller.module).double().train(training)(*inputs)
    assert _difference(expected, got) < 1e-12
    assert _difference(copy.deepcopy(model).double().train(training)(*inputs), got) > 1e-3


def test_trains_at_another_batch_size(pattern, random_keep):
    _, network = pattern
    module = network.cut(random_keep(network)).module.train()
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    outputs = pytree.tree_leaves(module(*(leaf.float() for leaf in _doubles(network, 5))))
    sum(output.square().mean() for output in outputs).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in module.parameters())
    before = copy.deepcopy(module.state_dict())
    optimizer.step()
    assert any(not torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_predicts_its_costs(pattern, random_keep):
    _, network = pattern
    keep = random_keep(network)
    smaller = network.cut(keep)
    counts = {name: int(vector.sum()) for name, vector in keep.items()}
    assert smaller.macs == network.macs_if(counts) < network.macs
    assert smaller.parameters == network.parameters_if(counts) < network.parameters


def test_keeps_names_and_leaves_the_original_alone(pattern, random_keep):
    model, network = pattern
    before = copy.deepcopy(network.module.state_dict())
    keep = random_keep(network)
    smaller = network.cut(keep)
    assert list(smaller.module.state_dict()) == list(model.state_dict())
    torch.testing.assert_close(network.module.state_dict(), before)
    assert {name: vector.tolist() for name, vector in smaller.kept.items()} == {n: v.tolist() for n, v in keep.items()}
    assert not {id(p) for p in smaller.module.parameters()} & {id(p) for p in network.module.parameters()}


def test_cutting_nothing_changes_nothing(traced):
    _, network = traced("decoder")
    x = torch.randn(2, 3, 16, 16)
    same = network.cut({})
    torch.testing.assert_close(same.module.eval()(x), network.copy().module.eval()(x))
    assert (same.macs, same.parameters, network.check(same)) == (network.macs, network.parameters, 0)


def test_keeps_only_one_channel_of_everything(pattern):
    _, network = pattern
    free = [group for group in network.groups if group.removable and group.exact]
    keep = {group.name: group.best(-np.arange(group.size), group.multiple_of) for group in free}
    assert all(keep[group.name].sum() == group.multiple_of for group in free)
    assert network.check(network.cut(keep)) < 1e-10


def test_cuts_again_and_traces_again(traced, random_keep):
    _, network = traced("dense")
    once = network.cut(random_keep(network, seed=1))
    twice = once.cut(random_keep(once, seed=2))
    assert once.check(twice) < 1e-10
    again = trace(once.module, network.example)
    assert [(g.name, g.size) for g in again.groups] == [(g.name, g.size) for g in once.groups]
    smaller = again.cut({name: keep for name, keep in twice.kept.items() if name in {g.name for g in again.groups}})
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(smaller.module.eval()(x), twice.module.eval()(x))


def test_sizes_that_depend_on_the_batch():
    """A reshape to (batch * channels, ...) holds channels inside a number that only the batch knows."""

    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.smooth, self.fc = nn.Conv2d(3, 8, 1), nn.Conv2d(1, 1, 3, padding=1), nn.Linear(8, 2)

        def forward(self, x):
            x = self.conv(x)
            n, c, h, w = x.shape
            x = self.smooth(x.reshape(n * c, 1, h, w)).reshape(n, c, h, w)
            return self.fc(x.mean((2, 3)))

    network = trace(Folded(), torch.zeros(1, 3, 4, 4))
    removable = {group.name: np.arange(group.size) % 2 == 0 for group in network.groups if group.removable}
    assert network.check(network.cut(removable)) < 1e-10


def _error(network, keep):
    with pytest.raises(ValueError, match=r"expected|must|cannot") as caught:
        network.cut(keep)
    return str(caught.value)


def test_errors_say_what_is_wrong(traced):
    _, network = traced("plain")
    assert _error(network, {"hiden.weight": np.ones(20, bool)}).startswith(
        "cut: expected the name of a group of this network, got 'hiden.weight'; did you mean hidden.weight"
    )
    assert _error(network, {"hidden.weight": np.ones(7, bool)}) == (
        "keep of group 'hidden.weight' must be a bool vector of shape (20,), got bool of shape (7,)"
    )
    assert "got float64 of shape (20,)" in _error(network, {"hidden.weight": np.ones(20)})
    assert _error(network, {"hidden.weight": np.zeros(20, bool)}) == (
        "expected an output that depends on the image, got a constant: keep a channel before it"
    )
    assert _error(network, {"fc.weight": np.arange(10) > 2}) == (
        "group 'fc.weight' cannot be cut: it is an output of the network; leave it out or keep all its 10 channels"
    )


def test_multiples_are_respected(traced):
    """A convolution in 8 groups of 3 reads 'reduce': every group keeps as many, whichever they are."""
    _, network = traced("grouped")
    group = next(group for group in network.groups if group.name == "reduce.0.weight")
    assert (group.size, group.multiple_of, group.part.tolist()) == (24, 8, [k // 3 for k in range(24)])
    assert _error(network, {"reduce.0.weight": np.arange(24) < 16}) == (
        "group 'reduce.0.weight' must keep equally many channels of each of its 8 parts, got 0 to 3; see group.part"
    )
    with pytest.raises(ValueError, match="must keep a multiple of 8 of its 24 channels, got 12"):
        group.best(np.arange(24), 12)
    free = np.zeros(24, bool)
    free[[0, 4, 8, 10, 12, 17, 18, 23]] = True  # another position in each
    smaller = network.cut({"reduce.0.weight": free})
    assert network.check(smaller) < 1e-10
    assert smaller.tensors["many.0.weight"].shape == (24, 1, 3, 3)
    assert smaller.macs == network.macs_if({"reduce.0.weight": 8})


def test_the_best_of_each_part_stay(traced):
    group = next(group for group in traced("grouped")[1].groups if group.multiple_of > 1)
    score = np.random.default_rng(0).random(group.size)
    keep = group.best(score, 2 * group.multiple_of)
    assert [int(keep[group.part == part].sum()) for part in range(group.multiple_of)] == [2] * group.multiple_of
    for part in range(group.multiple_of):
        inside = group.part == part
        assert score[inside & keep].min() > score[inside & ~keep].max()
    plain = traced("plain")[1].groups[0]
    assert plain.best(np.array([1, 9, 9, 0, 5, 5, 5, 2.0]), 3).nonzero()[0].tolist() == [1, 2, 4], "ties: the first"


# --- networks nobody wrote


class Random(nn.Module):
    """A chain of patterns on a few channels, drawn by Hypothesis."""

    def __init__(self, steps, width):
        super().__init__()
        self.steps = steps
        self.parts = nn.ModuleDict()
        widths = [width]
        self.parts["stem"] = nn.Conv2d(3, width, 3, padding=1)
        for i, step in enumerate(steps):
            last = widths[-1]
            if step == "conv":
                self.parts[f"p{i}"] = nn.Sequential(nn.Conv2d(last, last + 2, 3, padding=1), nn.BatchNorm2d(last + 2))
                widths.append(last + 2)
            elif step in ("residual", "dense", "excite"):
                self.parts[f"p{i}"] = nn.Sequential(
                    nn.Conv2d(last, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU()
                )
                widths.append(2 * last if step == "dense" and last < 24 else last)
            elif step == "grouped":
                self.parts[f"p{i}"] = nn.Conv2d(last, last, 3, padding=1, groups=2)
            elif step == "depthwise":
                self.parts[f"p{i}"] = nn.Conv2d(last, last, 3, padding=1, groups=last)
            elif step == "pad":
                widths.append(last + 2)
            elif step == "upward":
                self.parts[f"p{i}"] = nn.ConvTranspose2d(last, last, 2, stride=2, groups=2)
            elif step == "attention":
                self.parts[f"p{i}"] = nn.Linear(last, 3 * last)
            elif step == "norm":
                self.parts[f"p{i}"] = nn.GroupNorm(1, last)
            elif step == "twice":
                self.parts[f"p{i}"] = nn.Conv2d(last, last, 1)
        self.parts["fc"] = nn.Linear(widths[-1], 3)

    def forward(self, x):
        x = self.parts["stem"](x)
        for i, step in enumerate(self.steps):
            part = dict(self.parts.items()).get(f"p{i}")
            n, c, h, w = x.shape
            if step == "residual":
                x = F.relu(x + part(x))
            elif step == "dense":
                x = torch.cat([part(x), x], 1) if c < 24 else part(x)
            elif step == "excite":
                x = x * torch.sigmoid(part(x).mean((2, 3), keepdim=True))
            elif step == "shuffle":
                x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            elif step == "swap":
                left, right = x.chunk(2, 1)
                x = torch.cat([F.relu(right), left], 1)
            elif step == "pad":
                x = F.pad(x, (0, 0, 0, 0, 1, 1), value=0.5)
            elif step == "order":
                x = x[:, torch.arange(c - 1, -1, -1)]
            elif step == "native shuffle":
                x = F.channel_shuffle(x, 2)
            elif step == "upward":
                x = F.avg_pool2d(F.leaky_relu(part(x), 0.1), 2)
            elif step == "attention":
                q, k, v = part(x.flatten(2).transpose(1, 2)).reshape(n, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
                y = F.scaled_dot_product_attention(q, k, v)
                x = x + y.transpose(1, 2).reshape(n, h * w, c).transpose(1, 2).reshape(n, c, h, w)
            elif step == "twice":
                x = x + F.relu(part(F.relu(part(x))))
            else:
                x = F.leaky_relu(part(x), 0.1)
        return self.parts["fc"](F.adaptive_avg_pool2d(x, 1).flatten(1))


STEPS = ["conv", "residual", "dense", "excite", "grouped", "depthwise", "shuffle", "native shuffle", "swap", "pad"]
STEPS += ["upward", "attention", "norm", "twice", "order"]
CHOICES = st.builds(
    Choices,
    grouped=st.sampled_from(["equal", "whole"]),
    heads=st.sampled_from(["narrow", "whole"]),
    norms=st.sampled_from(["plain", "zeros"]),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=2, max_size=6), seed=st.integers(0, 99), choices=CHOICES)
def test_random_networks(steps, seed, choices):
    torch.manual_seed(seed)
    network = trace(Random(steps, 8), torch.zeros(1, 3, 6, 6), choices=choices)
    rng = np.random.default_rng(seed)
    keep = {}
    for group in network.groups:
        if group.removable and group.exact:
            count = group.multiple_of * int(rng.integers(1, group.size // group.multiple_of + 1))
            keep[group.name] = group.best(rng.random(group.size), count)
    assert network.check(network.cut(keep), seed) < 1e-10
