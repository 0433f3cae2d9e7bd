# SPDX-License-Identifier: Apache-2.0
"""Networks on grids without training: over all kinds of layers, better than rounding, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from gossamer.coding import adaptive
from gossamer.coding.costs import costs
from gossamer.graph import trace
from gossamer.quantize import post_training
from gossamer.quantize.folding import fold_factors
from gossamer.quantize.post_training import RateDistortion
from gossamer.quantize.second_order import sensitivity


class Kinds(nn.Module):
    """Strided, grouped, depthwise, transposed, pointwise and linear layers, with and without norm or bias."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8))
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2, groups=2)
        self.twice = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.narrow = nn.Conv2d(6, 4, 1, bias=False)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.depthwise(self.stem(x)))
        x = torch.relu(self.up(torch.relu(self.grouped(x))))
        x = self.narrow(torch.relu(self.twice(torch.relu(self.twice(x)))))
        return self.head(torch.relu(x).mean((2, 3)))


@pytest.fixture(scope="module")
def kinds():
    """The network with statistics as after training, its batches and what its outputs feel."""
    torch.manual_seed(0)
    model = Kinds()
    for layer in model.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    batches = [torch.randn(40, 3, 8, 8).cumsum(3) / 3 for _ in range(3)]
    model.train()
    for _ in range(30):
        model(batches[0])
    network = trace(model.eval(), batches[0][:1])
    return network, batches, sensitivity(network, batches)


def outputs(network, batches) -> torch.Tensor:
    with torch.no_grad():
        z = torch.cat([network.module.eval()(batch) for batch in batches])
    return z - z.mean(1, keepdim=True)


def integers(network, units, name) -> np.ndarray:
    """What the file would hold of a layer; asserts that its deployed weights are on their grid."""
    factor = fold_factors(network.layers, network.tensors)[name]
    steps = (network.tensors[name].detach() * factor / torch.from_numpy(units[name])).numpy()
    whole = np.rint(steps)
    np.testing.assert_allclose(steps, whole, atol=1e-4 * max(1, np.abs(whole).max()))
    return whole.astype(np.int32)


def coded(network, units) -> int:
    return sum(len(adaptive.encode(integers(network, units, name))) for name in units)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("most", [4800, 5])
def test_every_kind_of_layer_lands_on_its_grid(kinds, per_channel, most, monkeypatch):
    network, batches, felt = kinds
    monkeypatch.setattr(post_training, "MOST_COLUMNS", most)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    rounded, units = RateDistortion(0.01, per_channel=per_channel).quantize(
        network, network.layers, batches, felt, costs
    )
    assert units.keys() == {layer.name for layer in network.layers}
    for layer in network.layers:
        assert np.unique(integers(rounded, units, layer.name)).size > 1
        axis = 1 if layer.kind == "conv_transpose" else 0
        channels = layer.shape[axis] if per_channel else 1
        assert units[layer.name].shape == tuple(channels if d == axis else 1 for d in range(len(layer.shape)))
        assert (units[layer.name] == units[layer.name].astype(np.float16)).all(), "as the file holds them"
    for name, value in network.module.state_dict().items():
        assert torch.equal(value, before[name]), "the original is untouched"
    lost = (outputs(rounded, batches) - outputs(network, batches)).square().sum(1).mean()
    assert lost < (0.1 if most == 4800 else 0.3) * felt.energy


def test_less_error_than_plain_rounding_at_the_same_bytes(kinds):
    network, batches, felt = kinds
    rounded, units = RateDistortion(0.003).quantize(network, network.layers, batches, felt, costs)
    size = coded(rounded, units)
    values, factors = network.tensors, fold_factors(network.layers, network.tensors)
    coarseness = 0.05
    while True:
        plain, grids = network.copy(), {}
        for name, factor in factors.items():
            folded = values[name].detach() * factor
            grids[name] = (coarseness * folded.square().mean().sqrt()).reshape([1] * folded.ndim).numpy()
            unit = torch.from_numpy(grids[name])
            plain.tensors[name].data.copy_(torch.round(folded / unit) * unit / factor)
        if coded(plain, grids) <= size:
            break
        coarseness *= 1.03
    original = outputs(network, batches)
    ours, theirs = ((outputs(n, batches) - original).square().sum(1).mean() for n in (rounded, plain))
    assert ours < 0.4 * theirs


def test_correction_towards_the_original_s_outputs_pays(kinds):
    network, batches, felt = kinds
    original = outputs(network, batches)
    lost = []
    for correct in (0.0, 1.0):
        rounded, _ = RateDistortion(0.02, correct=correct).quantize(network, network.layers, batches, felt, costs)
        lost.append(float((outputs(rounded, batches) - original).square().sum(1).mean()))
    assert lost[1] < 0.9 * lost[0]


def test_mean_outputs_of_layers_stay_what_they_were(kinds):
    """Where a norm or a bias follows; seen behind the stem, the grouped and the transposed convolution."""
    from gossamer.graph import walk

    network, batches, felt = kinds
    rounded, _ = RateDistortion(0.05).quantize(network, network.layers, batches, felt, costs)

    def means(which, name):
        """Of what the first use of a layer gives, with its bias or less the mean of its norm."""
        found = {}
        for stop in walk(which, batches):
            found.setdefault(stop.use.layer, torch.cat(list(stop.inputs)))
        x, layer = found[name], which.module.get_submodule(name.removesuffix(".weight"))
        if name == "stem.0.weight":
            norm = which.module.get_submodule("stem.1")
            outputs = nn.functional.conv2d(x, layer.weight, None, 2, 1) - norm.running_mean.reshape(-1, 1, 1)
        elif name == "grouped.weight":
            outputs = nn.functional.conv2d(x, layer.weight, layer.bias, 1, 1, 1, 2)
        else:
            outputs = nn.functional.conv_transpose2d(x, layer.weight, layer.bias, 2, 0, 0, 2)
        return outputs.detach().mean((0, 2, 3))

    for name in ("stem.0.weight", "grouped.weight", "up.weight"):
        before, after = means(network, name), means(rounded, name)
        torch.testing.assert_close(after, before, atol=2e-3, rtol=1e-3)


def test_the_scale_of_weights_in_front_of_a_norm_says_nothing(kinds):
    network, batches, _ = kinds
    scaled = network.copy()
    scale = 2.0 ** torch.arange(-4.0, 4.0)
    with torch.no_grad():
        scaled.tensors["stem.0.weight"].mul_(scale.reshape(-1, 1, 1, 1))
        scaled.tensors["stem.1.running_mean"].mul_(scale)
        scaled.tensors["stem.1.running_var"].copy_((network.tensors["stem.1.running_var"] + 1e-5) * scale**2 - 1e-5)
    torch.testing.assert_close(outputs(scaled, batches), outputs(network, batches), rtol=1e-3, atol=1e-4)
    found = []
    for which in (network, scaled):
        rounded, units = RateDistortion(0.01).quantize(which, which.layers, batches, sensitivity(which, batches), costs)
        found.append(integers(rounded, units, "stem.0.weight"))
    assert (found[0] == found[1]).mean() > 0.95
    assert (found[0] != 0).any()


def test_without_norm_and_bias_the_mean_output_is_what_an_error_is_measured_by():
    torch.manual_seed(0)
    network = trace(nn.Sequential(nn.Linear(32, 8, bias=False)), torch.zeros(1, 32))
    batches = [5 + torch.randn(200, 32)]
    rounded, units = RateDistortion(0.05).quantize(
        network, network.layers, batches, sensitivity(network, batches), costs
    )
    (weight,), unit = network.module.parameters(), torch.from_numpy(units["0.weight"])
    plain = torch.round(weight / unit) * unit
    mean = batches[0].mean(0)

    def lost(other: torch.Tensor) -> float:
        change = (other - weight).detach() @ mean
        return float((change - change.mean()).norm())  # what all outputs share is free

    assert lost(rounded.tensors["0.weight"]) < 0.3 * lost(plain)


def test_the_same_again(kinds):
    network, batches, felt = kinds
    first, units = RateDistortion(0.01).quantize(network, network.layers, batches, felt, costs)
    second, again = RateDistortion(0.01).quantize(network, network.layers, batches, felt, costs)
    for name, value in first.module.state_dict().items():
        assert torch.equal(value, second.module.state_dict()[name])
    assert all((units[name] == again[name]).all() for name in units)


def test_layers_that_are_not_asked_for_keep_their_weights(kinds):
    network, batches, felt = kinds
    layers = [layer for layer in network.layers if layer.name.startswith("stem")]
    rounded, units = RateDistortion(0.01).quantize(network, layers, batches, felt, costs)
    assert list(units) == ["stem.0.weight"]
    for layer in network.layers[1:]:
        assert torch.equal(rounded.tensors[layer.name], network.tensors[layer.name])


def test_bad_input_is_named(kinds):
    felt = kinds[2]
    with pytest.raises(ValueError, match=r"strength must be positive, got 0"):
        RateDistortion(0.0)

    class Computed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Parameter(torch.randn(2, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(x, torch.cat([self.part, -self.part]))

    other = trace(Computed(), torch.randn(1, 3))
    x = [torch.randn(5, 3)]
    with pytest.raises(ValueError, match="expected layers of the network whose weights are its own tensors"):
        RateDistortion(0.1).quantize(other, other.layers, x, felt, costs)


@pytest.mark.parametrize("dead", ["first", "last"])
def test_a_network_that_always_says_the_same_is_rounded(dead):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    with torch.no_grad():
        (model[1].bias.fill_(-100) if dead == "first" else model[4].weight.zero_())
    network, batches = trace(model, torch.zeros(1, 3, 8, 8)), [torch.randn(50, 3, 8, 8)]
    rounded, _ = RateDistortion(0.01).quantize(network, network.layers, batches, sensitivity(network, batches), costs)
    with torch.no_grad():
        torch.testing.assert_close(rounded.module(batches[0]), model(batches[0]), atol=0.1, rtol=0)
