# SPDX-License-Identifier: Apache-2.0
"""Images of other sizes: taken where asked for and possible, refused where the size is written into the code."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gossamer.graph import trace


class Pyramid(nn.Module):
    """Sizes that follow the image: a skip resized to what it meets, a shuffle, attention over pixels."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.norm, self.mix, self.head = nn.BatchNorm2d(8), nn.Conv2d(16, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = self.norm(self.down(x))
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = F.interpolate(y, size=x.shape[-2:], mode="nearest")
        return self.head(F.relu(self.mix(torch.cat([x, y], 1))))


class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 1), nn.Linear(4 * 64, 2)

    def forward(self, x):
        return self.fc(self.conv(x).flatten(1))


def test_another_size_is_computed_and_the_cut_is_exact(random_keep):
    torch.manual_seed(0)
    model = Pyramid().eval()
    network = trace(model, torch.zeros(1, 3, 16, 16), any_size=True)
    x = torch.randn(3, 3, 24, 40)
    torch.testing.assert_close(network.module(x), model(x))
    smaller = network.cut(random_keep(network))
    assert network.check(smaller) < 1e-10
    assert smaller.module(x).shape == (3, 2, 24, 40)


def test_another_size_is_refused_where_it_was_not_asked_for():
    network = trace(Pyramid().eval(), torch.zeros(1, 3, 16, 16))
    with pytest.raises(ValueError, match=r"traced for inputs \(N, 3, 16, 16\), got \(3, 3, 24, 40\); trace it with"):
        network.module(torch.randn(3, 3, 24, 40))


def test_a_network_for_one_size_says_so():
    with pytest.raises(ValueError, match=r"any size|decide by the size"):
        trace(Decides(), torch.zeros(1, 3, 8, 8), any_size=True)
