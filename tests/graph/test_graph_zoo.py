# SPDX-License-Identifier: Apache-2.0
"""Networks that people use, at small sizes: traced, cut in half at random, checked in both forms."""

from __future__ import annotations

import pytest
import torch

from gossamer.graph import trace
from gossamer.zoo import ZOO

SMALL = [("squeezenet1_1", 32), ("shufflenet_v2_x0_5", 32), ("mobilenet_v3_small", 32)]
LARGE = [
    ("alexnet", 96),
    ("vgg11_bn", 32),
    ("resnet18", 32),
    ("resnext50_32x4d", 32),
    ("densenet121", 32),
    ("googlenet", 64),
    ("inception_v3", 299),
    ("mobilenet_v2", 32),
    ("efficientnet_b0", 32),
    ("regnet_y_400mf", 32),
]


@pytest.mark.parametrize(
    ("name", "size"),
    SMALL + [pytest.param(*one, marks=pytest.mark.slow) for one in LARGE],
    ids=lambda value: str(value),
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_torchvision(name, size, random_keep):
    models = pytest.importorskip("torchvision.models")
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network = trace(models.get_model(name, weights=None, **options), torch.zeros(1, 3, size, size))
    smaller = network.cut(random_keep(network))
    assert network.check(smaller) < 1e-10
    assert smaller.parameters < 0.6 * network.parameters
    assert all(group.exact for group in network.groups)
    assert [g.reason for g in network.groups if not g.removable and g.size > 1] == [
        "it is an output of the network"
    ] * ({"googlenet": 3, "inception_v3": 2}.get(name, 1))


def test_segmentation(random_keep):
    smp = pytest.importorskip("segmentation_models_pytorch")
    network = trace(
        smp.Unet("resnet18", encoder_weights=None, decoder_channels=(32, 24, 16, 8, 8)), torch.zeros(1, 3, 32, 32)
    )
    assert all(group.removable and group.exact for group in network.groups)
    assert network.check(network.cut(random_keep(network))) < 1e-10


@pytest.mark.parametrize(
    ("name", "options", "convolutions"),
    [
        ("ternausnet11", {"width": 8}, 20),
        ("ternausnet16", {"width": 8, "batch_norm": True}, 25),
        ("unet", {"width": 8}, 23),
        ("unet", {"width": 8, "batch_norm": True}, 23),
    ],
)
def test_networks_for_pixels_of_the_zoo(name, options, convolutions, random_keep):
    network = trace(ZOO[name](2, **options), torch.zeros(1, 3, 64, 64))
    assert len(network.groups) == convolutions, "each convolution and transposed convolution is a group of its own"
    assert [group.reason for group in network.groups if not group.removable] == ["it is an output of the network"]
    assert all(group.exact for group in network.groups)
    smaller = network.cut(random_keep(network))
    assert network.check(smaller) < 1e-10
    assert smaller.parameters < 0.6 * network.parameters
