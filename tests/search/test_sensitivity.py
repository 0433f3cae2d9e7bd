# SPDX-License-Identifier: Apache-2.0
"""What a group is worth: silencing equals cutting, weights come back, and what does nothing costs nothing."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.kinds.imitation import divergence
from gossamer.search.sensitivity import mean_distance, measure_sensitivities, silenced
from gossamer.tuning.batch_norm import reestimate_batch_norms


class Residual(nn.Module):
    """One residual block; its first convolution's last four channels are not read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.a, self.bn_a = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.bn_b = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)
        with torch.no_grad():
            self.b.weight[:, 4:] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn(self.stem(x)))
        x = torch.relu(x + self.bn_b(self.b(torch.relu(self.bn_a(self.a(x))))))
        return self.fc(x.mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = trace(Residual(), torch.zeros(1, 3, 8, 8))
    reestimate_batch_norms(network.module, _batches())
    return network


def _batches():
    return [torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(k)) for k in range(2)]


def test_losses_fall_to_nothing_and_weights_come_back(network):
    before = copy.deepcopy(network.module.state_dict())
    scores = {"stem.weight": np.arange(8.0), "a.weight": -np.arange(8.0)}
    found = dict(measure_sensitivities(network, scores, _batches(), divergence, may_end={"a.weight"}))
    torch.testing.assert_close(network.module.state_dict(), before, rtol=0, atol=0)
    assert found["stem.weight"].counts == (1, 2, 4, 6, 8)
    assert found["a.weight"].counts == (0, 1, 2, 4, 6, 8)
    for sensitivity in found.values():
        assert list(sensitivity.losses) == sorted(sensitivity.losses, reverse=True)
        assert sensitivity.losses[-1] == 0
    assert found["a.weight"].loss(4) == pytest.approx(0, abs=1e-5)  # the four that are read stay
    assert found["a.weight"].loss(0) > 1e-3
    assert found["stem.weight"].loss(3) == pytest.approx(
        (found["stem.weight"].losses[1] + found["stem.weight"].losses[2]) / 2
    )


def test_silenced_equals_cut(network):
    group = next(group for group in network.groups if group.name == "a.weight")
    x = _batches()[0]
    for keep in (np.arange(8) < 3, np.zeros(8, np.bool_)):
        module = copy.deepcopy(network.cut({group.name: keep}).module).train()
        with silenced(network, group, keep), torch.no_grad():
            expected = copy.deepcopy(network.module).train()(x)
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


def test_an_error_leaves_the_weights_as_they_were(network):
    group = next(group for group in network.groups if group.name == "a.weight")
    before = network.module.b.weight.clone()
    with pytest.raises(RuntimeError, match="stop"), silenced(network, group, np.zeros(8, np.bool_)):
        raise RuntimeError("stop")
    assert torch.equal(network.module.b.weight, before)


def test_the_callers_draws_are_not_begun_anew(network):
    inputs = torch.zeros(2, *network.example[0].shape[1:])
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    mean_distance(lambda a, b: torch.zeros(()), network, [inputs], [None])
    assert torch.equal(torch.rand(3), expected)
