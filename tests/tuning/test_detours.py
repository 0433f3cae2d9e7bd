# SPDX-License-Identifier: Apache-2.0
"""Convolutions taken another way: the same numbers, where that gains and nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gossamer.tuning import small_maps, winograd
from gossamer.tuning.detours import Detours

CASES = {
    "3x3": {"kernel": (3, 3), "padding": 1},
    "3x3, no padding": {"kernel": (3, 3)},
    "3x3, stride 2": {"kernel": (3, 3), "padding": 1, "stride": 2},
    "1x1": {"kernel": (1, 1)},
    "1x1, stride 2": {"kernel": (1, 1), "stride": 2},
    "3x1": {"kernel": (3, 1), "padding": (1, 0), "stride": (1, 2)},
    "5x5, more padding than map": {"kernel": (5, 5), "padding": 2, "map": (2, 1)},
}


@pytest.fixture
def taken(monkeypatch):
    """How often each pass went through a product."""
    counts = {"forward": 0, "backward": 0}

    def count(name):
        real = getattr(small_maps, name)

        def counted(*args):
            counts[name] += 1
            return real(*args)

        monkeypatch.setattr(small_maps, name, counted)

    count("forward")
    count("backward")
    monkeypatch.setattr(small_maps, "FEWEST_WEIGHTS", 1)
    return counts


def gradients(x, weight, bias, context, **options):
    leaves = [value.detach().clone().requires_grad_() for value in (x, weight, bias)]
    with context:
        out = F.conv2d(*leaves, **options)
        out.square().sum().backward()
    return [out, *(leaf.grad for leaf in leaves)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_outputs_and_gradients_are_those_of_the_convolution(case, layout, taken):
    options = dict(CASES[case])
    kernel, size = options.pop("kernel"), options.pop("map", (4, 3))
    torch.manual_seed(0)
    x = torch.randn(5, 6, *size, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(7, 6, *kernel, dtype=torch.float64).contiguous(memory_format=layout)
    bias = torch.randn(7, dtype=torch.float64)
    expected = gradients(x, weight, bias, torch.enable_grad(), **options)
    found = gradients(x, weight, bias, Detours(), **options)
    assert taken == {"forward": 1, "backward": 1}
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "channels", "size"),
    [({"groups": 2}, 3, 4), ({"dilation": 2, "padding": 2}, 6, 4), ({"padding": 1}, 6, 5)],
    ids=["groups", "dilation", "a larger map"],
)
def test_others_are_left_alone(options, channels, size, taken):
    x, weight, bias = torch.randn(2, 6, size, size), torch.randn(4, channels, 3, 3), torch.randn(4)
    gradients(x, weight, bias, Detours(), **options)
    assert taken == {"forward": 0, "backward": 0}


def test_few_weights_are_left_alone(taken, monkeypatch):
    monkeypatch.setattr(small_maps, "FEWEST_WEIGHTS", 6 * 4 * 9 + 1)
    gradients(torch.randn(2, 6, 4, 4), torch.randn(4, 6, 3, 3), torch.randn(4), Detours(), padding=1)
    assert taken == {"forward": 0, "backward": 0}


def test_gradients_in_bfloat16_are_as_close_as_the_convolutions(taken):
    """In autocast, as in training: nine summands of an input's gradient must not be rounded one by one."""
    torch.manual_seed(0)
    layer, x = nn.Conv2d(64, 64, 3, padding=1), torch.randn(16, 64, 4, 4)
    exact = gradients(x.double(), layer.weight.double(), layer.bias.double(), torch.enable_grad(), padding=1)[1]

    def error(context):
        leaf = x.clone().requires_grad_()
        with context:
            with torch.autocast("cpu", torch.bfloat16):
                out = layer(leaf)
            out.float().square().sum().backward()
        return (leaf.grad - exact).norm() / exact.norm()

    assert error(Detours()) < 1.1 * error(torch.enable_grad())
    assert taken == {"forward": 1, "backward": 1}


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_backward_pass_of_strided_depthwise_convolutions_keeps_its_values(layout):
    torch.manual_seed(0)
    x = torch.randn(4, 24, 9, 8).bfloat16().contiguous(memory_format=layout)
    weight, bias = torch.randn(24, 1, 3, 3).bfloat16(), torch.randn(24).bfloat16()
    options = {"stride": 2, "padding": 1, "groups": 24}
    exact = gradients(x.double(), weight.double(), bias.double(), torch.enable_grad(), **options)
    for value, wanted in zip(gradients(x, weight, bias, Detours(), **options), exact, strict=True):
        assert value.dtype == torch.bfloat16
        assert (value.double() - wanted).abs().max() < 0.01 * wanted.abs().max()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("size", "padding"), [((8, 5), 1), ((4, 4), 1), ((7, 9), 0), ((6, 6), (2, 1))])
def test_winograd_is_the_convolution(layout, size, padding, monkeypatch):
    """Tiles that do not come out even, and images in several lots."""
    torch.manual_seed(0)
    monkeypatch.setattr(winograd, "AT_ONCE", 2 * 128 * 6)
    x = torch.randn(5, 128, *size).contiguous(memory_format=layout)
    weight = torch.randn(130, 128, 3, 3).contiguous(memory_format=layout) / 34
    bias = torch.randn(130)
    seen = []
    monkeypatch.setattr(winograd, "backward", lambda *args, real=winograd.backward: seen.append(1) or real(*args))
    expected = gradients(x.double(), weight.double(), bias.double(), torch.enable_grad(), padding=padding)
    found = gradients(x, weight, bias, Detours(), padding=padding)
    assert seen
    for one, other in zip(expected, found, strict=True):
        assert one.shape == other.shape
        assert ((one - other).abs().max() < 1e-5 * one.abs().max()).item()


@pytest.mark.parametrize(
    ("inputs", "options", "changes"),
    [
        (127, {"padding": 1}, {}),
        (128, {"padding": 1, "stride": 2}, {}),
        (128, {"padding": 2, "dilation": 2}, {}),
        (128, {"padding": 1}, {"dtype": torch.float64}),
        (128, {}, {"size": 27}),
        (128, {}, {"size": 5}),
    ],
    ids=["few channels", "stride", "dilation", "float64", "a large map", "a small map"],
)
def test_winograd_leaves_others_alone(inputs, options, changes, monkeypatch):
    monkeypatch.setattr(winograd, "forward", lambda *args: pytest.fail("it was taken"))
    dtype = changes.get("dtype", torch.float32)
    x = torch.randn(2, inputs, changes.get("size", 8), 8, dtype=dtype)
    weight, bias = torch.randn(128, inputs, 3, 3, dtype=dtype), torch.randn(128, dtype=dtype)
    gradients(x, weight, bias, Detours(), **options)
