# SPDX-License-Identifier: Apache-2.0
"""Costs against numbers worked out by hand."""

from __future__ import annotations

import torch
from torch import nn

from gossamer.graph import Norm, trace


def test_multiply_adds_of_a_plain_network(traced):
    _, network = traced("plain")
    assert [(layer.name, layer.kind, layer.macs) for layer in network.layers] == [
        ("features.0.weight", "conv", 16 * 16 * 8 * 3 * 9),
        ("features.3.weight", "conv", 8 * 8 * 12 * 8 * 9),
        ("hidden.weight", "linear", 192 * 20),
        ("fc.weight", "linear", 200),
    ]
    assert network.macs == sum(layer.macs for layer in network.layers)
    assert network.parameters == sum(p.numel() for p in network.module.parameters())
    assert network.macs_if({"hidden.weight": 5}) == network.macs - 15 * 192 - 15 * 10
    assert network.parameters_if({"features.3.weight": 1}) == network.parameters - 11 * (8 * 9 + 1 + 16 * 20)


def test_grouped_and_transposed_layers(traced):
    layers = {layer.name: layer for layer in traced("decoder")[1].layers}
    assert (layers["up.weight"].kind, layers["up.weight"].outputs) == ("conv_transpose", 6)
    assert layers["up.weight"].macs == 8 * 8 * 12 * 6 * 4
    assert (layers["depth_up.weight"].groups, layers["depth_up.weight"].outputs) == (6, 6)
    grouped = {layer.name: layer for layer in traced("grouped")[1].layers}["many.0.weight"]
    assert (grouped.shape, grouped.groups, grouped.macs) == ((24, 3, 3, 3), 8, 8 * 8 * 24 * 3 * 9)


def test_a_layer_used_twice_costs_twice(traced):
    layers = {layer.name: layer for layer in traced("shared")[1].layers}
    assert layers["twice.weight"].macs == 2 * 8 * 8 * 8 * 8 * 9
    assert list(layers) == ["stem.weight", "twice.weight", "fc.weight"]


def test_norms_that_can_be_folded(traced):
    layers = {layer.name: layer for layer in traced("padded residual")[1].layers}
    assert layers["b2.0.weight"].norm == Norm("b2.1.weight", "b2.1.bias", "b2.1.running_mean", "b2.1.running_var", 1e-5)
    assert layers["fc.weight"].norm is None
    dense = {layer.name: layer for layer in traced("dense")[1].layers}
    assert all(layer.norm is None for layer in dense.values())  # its norms read concatenations


def test_a_norm_that_is_not_alone_is_not_folded():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)

        def forward(self, x):
            x = self.conv(x)
            return self.norm(x) + x

    assert trace(Two(), torch.zeros(1, 3, 4, 4)).layers[0].norm is None
    plain = trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)), torch.zeros(1, 3, 4, 4))
    assert plain.layers[0].norm == Norm(None, None, "1.running_mean", "1.running_var", 1e-5)


def test_heads_that_only_train_are_not_counted(traced):
    _, network = traced("two heads")
    tensors = dict(network.module.named_parameters())
    unused = tensors["aux.weight"].numel() + tensors["aux.bias"].numel()
    buffers = sum(b.numel() for n, b in network.module.named_buffers() if "tracked" not in n)
    assert network.parameters == sum(p.numel() for p in tensors.values()) - unused + buffers
