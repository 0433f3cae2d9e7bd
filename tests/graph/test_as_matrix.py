# SPDX-License-Identifier: Apache-2.0
"""Every kind of layer is the matrix products that its form says it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gossamer.graph import trace, walk, with_taps

LAYERS = {
    "conv": (nn.Conv2d(4, 6, 3, padding=1), (4, 7, 6)),
    "stride and dilation": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(2, 1)), (4, 9, 8)),
    "grouped": (nn.Conv2d(4, 6, 3, groups=2), (4, 7, 6)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding=1, stride=2), (4, 7, 6)),
    "same": (nn.Conv2d(4, 6, (5, 3), padding="same"), (4, 7, 6)),
    "pointwise": (nn.Conv2d(4, 6, 1), (4, 7, 6)),
    "one dim": (nn.Conv1d(4, 6, 5, padding=2), (4, 9)),
    "three dims": (nn.Conv3d(2, 3, 2, padding=1), (2, 3, 4, 5)),
    "linear": (nn.Linear(5, 3), (5,)),
    "linear on rows": (nn.Linear(5, 3), (4, 5)),
}
TRANSPOSED = {
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1), (4, 5, 4)),
    "transposed, output padding": (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), (4, 5, 4)),
    "transposed, grouped": (nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (4, 5, 4)),
}


def form_of(layer: nn.Module, inputs: torch.Tensor):
    (stop,) = walk(trace(nn.Sequential(layer), inputs[:1]), [inputs])
    assert (stop.use.layer, stop.use.bias) == ("0.weight", "0.bias")
    assert torch.equal(stop.inputs[0], inputs)
    return stop.use.form


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("pieces", [1, 2])
def test_matrices_times_inputs_are_the_outputs(name, pieces):
    layer, shape = LAYERS[name]
    torch.manual_seed(0)
    inputs = torch.randn(3, *shape)
    form = form_of(layer, inputs)
    matrices = form.matrices(layer.weight.detach())
    if pieces > 1:
        form = form.in_pieces(matrices.shape[2], -(-matrices.shape[2] // 2))
        matrices = form.matrices(layer.weight.detach())
        assert form.pieces > 1
    assert torch.equal(form.weight(matrices, layer.weight.shape), layer.weight)
    with torch.no_grad():
        expected = form.outputs(layer(inputs) - layer(torch.zeros_like(inputs)))
    got = form.inputs(inputs) @ matrices.transpose(1, 2)
    got = got.reshape(form.groups, form.pieces, *got.shape[1:]).sum(1)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    there = form.positions(inputs)
    assert form.inputs(inputs).shape[1] == 3 * there
    at = torch.randperm(there)[: max(1, there // 2)]
    picked = form.inputs(inputs, at).reshape(len(matrices), 3, len(at), -1)
    assert torch.equal(picked, form.inputs(inputs).reshape(len(matrices), 3, there, -1)[:, :, at])


@pytest.mark.parametrize("name", TRANSPOSED)
def test_a_transposed_convolution_s_gradients_are_those_of_its_matrices(name):
    layer, shape = TRANSPOSED[name]
    torch.manual_seed(0)
    inputs = torch.randn(3, *shape)
    form = form_of(layer, inputs)
    outputs = layer(inputs)
    gradient = torch.randn(outputs.shape)
    (expected,) = torch.autograd.grad(outputs, layer.weight, gradient)
    x, g = form.inputs(inputs), form.outputs(gradient)
    torch.testing.assert_close(form.weight(g.transpose(1, 2) @ x, layer.weight.shape), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(form.weight(form.matrices(layer.weight), layer.weight.shape), layer.weight)


class Branches(nn.Module):
    """A weight used twice, an in-place operator, a sum, and a weight that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.ones(4))
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu_()
        x = x + self.twice(self.twice(x)).relu_()
        return nn.functional.linear(self.last(x.mean((2, 3))), torch.diag(self.scale[:2]))


def test_a_walk_stops_at_every_use_and_gives_what_the_network_computes():
    torch.manual_seed(0)
    model, inputs = Branches().eval(), torch.randn(5, 3, 6, 6)
    network = trace(model, inputs[:1])
    stops = [(stop.use.layer, stop.inputs, stop.held) for stop in walk(network, [inputs[:2], inputs[2:]])]
    assert [name for name, _, _ in stops] == ["first.weight", "twice.weight", "twice.weight", "last.weight"]
    assert [len(batch) for batch in stops[0][1]] == [2, 3]
    first = torch.relu(model.first(inputs)).detach()
    torch.testing.assert_close(torch.cat(list(stops[1][1])), first)
    assert [held for _, _, held in stops] == [5 * 108, 5 * 144, 5 * 288, 5 * 4], "the sum's other side is held too"


def test_weights_changed_where_a_walk_stops_count_from_there_on():
    torch.manual_seed(0)
    inputs = torch.randn(2, 3, 6, 6)
    network = trace(Branches().eval(), inputs[:1])
    for stop in walk(network, [inputs]):
        if stop.use.layer == "first.weight":
            network.module.first.weight.data.zero_()
            network.module.first.bias.data.fill_(7.0)
        elif stop.use.layer == "twice.weight":
            assert (stop.inputs[0] == 7).all()
            break


def test_taps_replace_what_layers_give():
    torch.manual_seed(0)
    model, inputs = Branches().eval(), torch.randn(2, 3, 6, 6)
    network = trace(model, inputs[:1])
    assert torch.equal(with_taps(network, inputs, lambda use, value: value), network.module.eval()(inputs))
    zeros = with_taps(network, inputs, lambda use, value: torch.zeros_like(value))
    assert (zeros == 0).all()


def test_networks_with_several_inputs_are_refused():
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    network = trace(Two(), (torch.zeros(1, 2), torch.zeros(1, 2)))
    with pytest.raises(ValueError, match="expected a network with one input tensor, got one with 2"):
        next(walk(network, [torch.zeros(2, 2)]))
