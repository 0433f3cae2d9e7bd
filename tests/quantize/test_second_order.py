# SPDX-License-Identifier: Apache-2.0
"""The statistics are what their formulas say, and predict what an error of the weights does to the outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer.graph import trace, walk
from gossamer.quantize import second_order
from gossamer.quantize.second_order import moments, sensitivity


def test_behind_the_last_layer_gradients_are_the_directions():
    """z = W x: B is the covariance of directions, the identity without what all outputs share."""
    network = trace(nn.Sequential(nn.Linear(6, 4)), torch.zeros(1, 6))
    found = sensitivity(network, [torch.randn(4000, 6)], directions=4)
    expected = torch.eye(4, dtype=torch.float64) - 0.25
    torch.testing.assert_close(found.gradients["0.weight"], expected.unsqueeze(0), atol=0.03, rtol=0)


def test_energy_is_the_variance_of_centred_outputs():
    network = trace(nn.Sequential(nn.Linear(6, 4)), torch.zeros(1, 6))
    x = torch.randn(50, 6)
    z = network.module(x).detach()
    expected = (z - z.mean(1, keepdim=True)).var(0, correction=0).sum()
    assert sensitivity(network, [x[:20], x[20:]]).energy == pytest.approx(float(expected), rel=1e-5)
    with torch.no_grad():
        network.module.get_parameter("0.bias").add_(torch.arange(4.0))
    assert sensitivity(network, [x]).energy == pytest.approx(float(expected), rel=1e-5)


def test_energy_of_answers_that_hardly_differ_is_theirs_and_positive():
    """In float32 the variance of such answers came out negative, and rounding ended with steps that are none."""
    network = trace(nn.Sequential(nn.Linear(6, 4)), torch.zeros(1, 6))
    x = 1e-3 * torch.randn(500, 6)
    with torch.no_grad():
        network.module.get_parameter("0.bias").copy_(1000 * torch.arange(4.0))
        z = network.module(x).double()
    expected = (z - z.mean(1, keepdim=True)).var(0, correction=0).sum()
    found = [sensitivity(network, x.split(size)).energy for size in (500, 37)]
    assert found == pytest.approx([float(expected)] * 2, rel=0.2)


@pytest.mark.parametrize("bias", [0.0, 5.0])
def test_a_network_that_always_says_the_same_has_some_energy(bias):
    """A candidate may have been cut that far: its rounding must go on, for the candidate to be refused."""
    network = trace(nn.Sequential(nn.Linear(6, 4)), torch.zeros(1, 6))
    with torch.no_grad():
        network.module.get_parameter("0.weight").zero_()
        network.module.get_parameter("0.bias").copy_(bias * torch.arange(4.0))
    assert 0 < sensitivity(network, [torch.randn(50, 6)]).energy < 1e-10


def test_what_works_in_place_behind_a_layer_does_not_change_what_is_felt():
    torch.manual_seed(0)
    found = []
    for inplace in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=inplace), nn.Linear(8, 4))
        found.append(sensitivity(trace(model, torch.zeros(1, 6)), [torch.randn(50, 6)]).gradients["0.weight"])
    assert torch.equal(*found)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_error_of_a_layer_is_predicted(groups):
    """tr(B E A E^T) against what noise on the weights really does, in front of a rectifier and a linear layer."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=groups), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 5)
    ).eval()
    x = torch.randn(400, 4, 6, 6)
    network = trace(model, x[:1])
    b = sensitivity(network, [x], directions=8).gradients["0.weight"]
    (stop,) = [stop for stop in walk(network, [x]) if stop.use.layer == "0.weight"]
    a = moments(stop.use.form, stop.inputs, stop.inputs).own
    predicted, real = 0.0, 0.0
    with torch.no_grad():
        z = model(x)
        for _ in range(10):
            noise = 0.01 * torch.randn(model[0].weight.shape)
            e = stop.use.form.matrices(noise.double())
            predicted += float(torch.einsum("gij,gjk,gkl,gil->", b, e, a, e))
            model[0].weight += noise
            change = model(x) - z
            real += float((change - change.mean(1, keepdim=True)).square().sum(1).mean())
            model[0].weight -= noise
    assert predicted == pytest.approx(real, rel=0.25)


def test_moments_of_both_networks():
    torch.manual_seed(0)
    network = trace(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3))
    x, y = torch.randn(40, 3) + 1, torch.randn(40, 3) - 2
    (stop,) = walk(network, [x])
    found = moments(stop.use.form, [x[:30], x[30:]], [y[:30], y[30:]])
    zero = found.about_zero()
    torch.testing.assert_close(zero.own[0], (y.T @ y / 40).double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(zero.cross[0], (x.T @ y / 40).double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.mean[0], x.mean(0).double(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.own[0], torch.cov(y.T, correction=0).double(), rtol=1e-5, atol=1e-5)
    u, v = x - x.mean(0), y - y.mean(0)
    torch.testing.assert_close(found.cross[0], (u.T @ v / 40).double(), rtol=1e-5, atol=1e-5)


def test_a_constant_input_has_no_moments_of_its_own():
    network = trace(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3))
    x = torch.full((1000, 3), 0.3) + torch.tensor([0.0, 1e-4, 0.0]) * torch.randn(1000, 1)
    (stop,) = walk(network, [x])
    own = moments(stop.use.form, [x], [x]).own[0]
    assert (own.diagonal() >= 0).all()
    assert own[0, 0] < 1e-12
    assert float(own[1, 1]) == pytest.approx(1e-8, rel=0.2)


def test_positions_drawn_at_random_give_nearly_the_same_moments_and_always_the_same(monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(20, 3, 16, 16).cumsum(3)
    network = trace(nn.Sequential(nn.Conv2d(3, 2, 3)), x[:1])
    (stop,) = walk(network, [x])
    whole = moments(stop.use.form, stop.inputs, stop.inputs).own
    monkeypatch.setattr(second_order, "MOST_POSITIONS", 2000)
    drawn, again = (moments(stop.use.form, stop.inputs, stop.inputs).own for _ in range(2))
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, whole)
    assert (drawn - whole).norm() < 0.1 * whole.norm()
