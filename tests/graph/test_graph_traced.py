# SPDX-License-Identifier: Apache-2.0
"""`TracedModule` behaves like the user's module, and like any module."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

from gossamer.graph import trace


def _inputs(network, batch):
    return tuple(torch.randn(batch, *leaf.shape[1:]) for leaf in network.example)


def test_computes_what_the_module_computes(pattern):
    model, network = pattern
    inputs = _inputs(network, 5)
    for training in (False, True):
        ours, theirs = copy.deepcopy(network.module).train(training), copy.deepcopy(model).train(training)
        torch.manual_seed(1)
        expected = theirs(*inputs)
        torch.manual_seed(1)
        got = ours(*inputs)
        assert pytree.tree_structure(got) == pytree.tree_structure(expected)
        torch.testing.assert_close(got, expected)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())  # running statistics moved alike


def test_names_are_those_of_the_module(pattern):
    model, network = pattern
    assert list(network.module.state_dict()) == list(model.state_dict())
    names = [name for name, _ in network.module.named_parameters()]
    assert names == [name for name, _ in model.named_parameters()]


def test_the_users_module_is_never_changed(traced):
    build = type(traced("padded residual")[0])
    torch.manual_seed(3)
    model = build().eval()
    before = copy.deepcopy(model.state_dict())
    network = trace(model, torch.zeros(1, 3, 16, 16))
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.zero_()
    torch.testing.assert_close(model.state_dict(), before)
    assert not model.training
    assert not network.module.training


def test_copies_and_pickles(traced):
    _, network = traced("two heads")
    inputs = _inputs(network, 3)
    module = copy.deepcopy(network.module).eval()
    clones = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), network.copy().module.eval()]
    for clone in clones:
        torch.testing.assert_close(clone(*inputs), module(*inputs))
        assert not {id(p) for p in clone.parameters()} & {id(p) for p in module.parameters()}


def test_shared_modules_stay_shared(traced):
    _, network = traced("shared")
    module = copy.deepcopy(network.module)
    assert module.twice.weight is module.again.weight


def test_runs_functionally(traced):
    _, network = traced("dense")
    module, inputs = copy.deepcopy(network.module).eval(), _inputs(network, 2)
    halved = {name: parameter / 2 for name, parameter in module.named_parameters()}
    got = torch.func.functional_call(module, halved, inputs)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.div_(2)
    torch.testing.assert_close(got, module(*inputs))


def test_runs_channels_last(pattern):
    _, network = pattern
    module, inputs = copy.deepcopy(network.module).eval(), _inputs(network, 2)
    expected = module(*inputs)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    got = module(*(leaf.to(memory_format=torch.channels_last) for leaf in inputs))
    torch.testing.assert_close(got, expected)


def test_norm_momentum_re_estimates_statistics(traced):
    _, network = traced("dense")
    module = copy.deepcopy(network.module).train()
    batches = [_inputs(network, 4) for _ in range(3)]
    for seen, batch in enumerate(batches):
        module.norm_momentum = 1 / (seen + 1)
        module(*batch)
    means = [F.conv2d(batch[0], module.stem.weight, padding=1).mean((0, 2, 3)) for batch in batches]
    got = dict(module.named_buffers())["layers.0.0.running_mean"]
    torch.testing.assert_close(got, torch.stack(means).mean(0))


def test_cumulative_average_norms_can_be_traced():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, momentum=None))
    network = trace(model, torch.zeros(1, 3, 4, 4))
    network.module.train()(torch.randn(2, 3, 4, 4))


def test_regions_without_gradient_or_autocast_are_inlined():
    class Regions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 8, 1), nn.Linear(8, 2)

        def forward(self, x):
            with torch.no_grad():
                x = self.conv(x)
            with torch.autocast("cpu", enabled=False):
                x = x.mean((2, 3)) * torch.tensor([2.0])
            return self.fc(x)

    model = Regions()
    network = trace(model, torch.zeros(1, 3, 4, 4))
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(network.module(x), model(x))
    network.module(x).sum().backward()
    assert network.module.conv.weight.grad is None
    assert network.module.fc.weight.grad is not None
    assert [group.removable for group in network.groups] == [True, False]


def test_wrong_number_of_inputs(traced):
    _, network = traced("two heads")
    with pytest.raises(ValueError, match="the network takes 2 input tensors, got 1"):
        network.module(torch.zeros(1, 3, 16, 16))


def test_a_network_that_cannot_be_exported_names_the_line():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(
        ValueError, match=r"cannot be exported in training mode: .* test_graph_traced.py:\d+ `return x if"
    ):
        trace(Branching(), torch.zeros(1, 3, 4, 4))


def test_an_example_that_does_not_fit():
    with pytest.raises(ValueError, match="expected a network that runs on its example, got RuntimeError"):
        trace(nn.Conv2d(3, 4, 1), torch.zeros(1, 5, 4, 4))


@pytest.mark.parametrize("example", [torch.tensor(1.0), torch.zeros(0, 3, 4, 4)])
def test_an_example_without_examples(example):
    with pytest.raises(ValueError, match="every example input must hold at least one example"):
        trace(nn.Conv2d(3, 4, 1), example)
