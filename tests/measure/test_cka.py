# SPDX-License-Identifier: Apache-2.0
"""CKA: what it is blind to, what it is not, and that layers of two networks find each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.graph import trace
from gossamer.measure.cka import alignment, similarities
from gossamer.runtime.export import export_onnx


def kernel(features):
    return features @ features.T


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(20, 6))


def test_turns_scales_shifts_and_unused_features_change_nothing(features):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    wider = np.hstack([2.5 * features @ turn + 7.0, np.zeros((20, 3))])
    assert alignment(kernel(features), kernel(wider)) == pytest.approx(1)


def test_it_is_the_published_formula(features):
    other = np.random.default_rng(2).normal(size=(20, 4))
    x, y = features - features.mean(0), other - other.mean(0)
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert alignment(kernel(features), kernel(other)) == pytest.approx(expected)
    assert 0 < expected < 0.7


def test_what_sees_all_images_alike_has_no_similarity(features):
    assert math.isnan(alignment(kernel(features), kernel(np.ones((20, 2)))))


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3)
        self.last = nn.Linear(8, 4)

    def forward(self, x):
        return self.last(self.second(self.norm(self.first(x)).relu()).relu().mean((2, 3)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return trace(Small().eval(), torch.zeros(2, 3, 10, 10))


def onnx_of(network):
    return export_onnx(network.module, network.example)


def test_layers_are_compared_by_name_whatever_their_widths(network):
    images = np.random.default_rng(0).normal(size=(12, 3, 10, 10)).astype(np.float32)
    whole = onnx_of(network)
    same = similarities(whole, whole, images)
    assert list(same) == ["first.weight", "second.weight", "last.weight"]
    assert list(same.values()) == pytest.approx([1, 1, 1])
    keep = {group.name: np.arange(group.size) >= 4 for group in network.prunable if group.name == "first.weight"}
    cut = similarities(whole, onnx_of(network.cut(keep)), images)
    assert 0.3 < cut["first.weight"] < 0.999
    assert all(0 < value < 1 for value in cut.values())


def test_networks_that_share_nothing_are_refused(network):
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten())
    strange = onnx_of(trace(other, torch.zeros(2, 3, 10, 10)))
    images = np.zeros((4, 3, 10, 10), np.float32)
    with pytest.raises(ValueError, match="expected networks with layers of the same names"):
        similarities(onnx_of(network), strange, images)
    with pytest.raises(ValueError, match="at least 3 images"):
        similarities(onnx_of(network), onnx_of(network), images[:2])
