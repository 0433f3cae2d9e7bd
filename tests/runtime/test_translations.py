# SPDX-License-Identifier: Apache-2.0
"""Exports of the same operators with other weights: the bytes of a whole export, without the exporter's work."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.graph import trace
from gossamer.runtime import export, translations
from gossamer.runtime.export import export_onnx
from gossamer.zoo import ZOO
from tests.conftest import SmallNet


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(translations, "_translations", OrderedDict())


@pytest.fixture
def translated(monkeypatch) -> list[int]:
    """Grows with each network that PyTorch's exporter translates."""
    done, real = [], export._translate
    monkeypatch.setattr(export, "_translate", lambda *given: (done.append(1), real(*given))[1])
    return done


class Heads(nn.Module):
    """Two outputs, a linear layer whose weight the exporter stores transposed, groups, a transposed convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.linear = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.up(F.relu(self.norm(self.stem(x))))
        return x, self.linear(x.permute(0, 2, 3, 1))


class Tempered(nn.Module):
    """A constant of the exported graph follows from a parameter."""

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.temperature = nn.Parameter(torch.tensor(temperature))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).sigmoid() * self.temperature.exp()


def traced(net: nn.Module, seed: int):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.3)
    return trace(net.eval(), torch.zeros(2, 3, 8, 8))


def whole(network) -> bytes:
    """The export of a process that knows nothing."""
    kept = translations._translations.copy()
    translations._translations.clear()
    model = export_onnx(network.module, network.example)
    translations._translations.clear()
    translations._translations.update(kept)
    return model


def halved(network):
    return network.cut({group.name: np.arange(group.size) % 2 > 0 for group in network.groups if group.removable})


def test_networks_of_the_same_operators_are_translated_once_and_have_the_bytes_of_a_whole_export(translated):
    networks = [traced(Heads(), 0), traced(Heads(), 1), traced(Heads(), 2)]
    models = [export_onnx(one.module, one.example) for one in networks]
    assert len(translated) == 2, "two of the same widths that agree are enough for these widths"
    networks += [halved(networks[0]), halved(halved(networks[1]))]
    models += [export_onnx(one.module, one.example) for one in networks[3:]]
    assert len(translated) == 3, "one of other widths that agrees is enough for all"
    assert models == [whole(one) for one in networks]
    assert len(set(models)) == 5


class Tied(nn.Module):
    """One weight under two names, and a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.second.weight = self.first.weight
        self.register_buffer("shift", torch.rand(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.relu(self.first(x))) + self.shift


def test_tied_weights_and_buffers_that_are_not_saved_are_those_of_each_network(translated):
    for seed in range(3):
        torch.manual_seed(seed)
        network = traced(Tied(), seed)
        assert export_onnx(network.module, network.example) == whole(network)
    assert len(translated) == 3 + 2


@pytest.mark.parametrize("make", [SmallNet, lambda: ZOO["resnet20"](10)], ids=["flattened", "padded"])
def test_where_the_operators_say_widths_each_of_them_is_a_translation(make, translated):
    wide = [traced(make(), seed) for seed in range(4)]
    narrow = [halved(one) for one in wide]
    for k, one in enumerate([x for pair in zip(wide, narrow, strict=True) for x in pair]):
        assert export_onnx(one.module, one.example) == whole(one)
        known = len(translated) - (k + 1)  # without what `whole` did
        assert known == min(k + 1, 4)


def test_batch_norms_that_stay_are_another_translation(translated):
    networks = [traced(Heads(), seed) for seed in range(3)]
    for fold in (True, False):
        models = [export_onnx(one.module, one.example, fold) for one in networks]
        assert (b"BatchNormalization" in models[2]) is not fold
    assert len(translated) == 4


def test_constants_that_follow_from_weights_are_those_of_each_network():
    x = torch.randn(2, 3, 8, 8)
    for temperature in (0.1, 0.9, -0.5, 0.3):
        network = trace(Tempered(temperature).eval(), torch.zeros(2, 3, 8, 8))
        model = export_onnx(network.module, network.example)
        with torch.no_grad():
            expected = network.module.eval()(x).numpy()
        assert abs(export.open_session(model).run(x.numpy())[0] - expected).max() < 1e-5


def test_a_wrong_translation_is_noticed_and_forgotten(translated, monkeypatch):
    networks = [traced(Heads(), seed) for seed in range(3)]
    for one in networks[:2]:
        export_onnx(one.module, one.example)
    kept = list(translations._translations.values())
    assert [one.confirmed for one in kept] == [None, True]
    for one in kept:
        one.model = one.model.replace(b"Relu", b"Tanh")
    assert export_onnx(networks[2].module, networks[2].example) == whole(networks[2])
    assert len(translated) == 4
    assert not any(one.confirmed for one in kept)


def test_the_same_network_twice_confirms_nothing(translated):
    network = traced(Heads(), 0)
    for _ in range(3):
        export_onnx(network.module, network.example)
    assert len(translated) == 3


def test_the_last_ones_are_kept(monkeypatch):
    monkeypatch.setattr(translations, "KEPT", 2)
    for sides in (8, 9, 10):
        network = trace(nn.Conv2d(3, 4, 3), torch.zeros(2, 3, sides, sides))
        export_onnx(network.module, network.example)
        assert len(translations._translations) == 2


def test_a_module_of_the_users_own_is_always_translated(translated):
    net = Heads().eval()
    for _ in range(3):
        export_onnx(net, torch.zeros(2, 3, 8, 8))
    assert len(translated) == 3
