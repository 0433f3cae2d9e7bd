# SPDX-License-Identifier: Apache-2.0
"""SSDLite: its maps and anchors, its backbones against those whose weights they read, cuts, export, training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from gossamer.graph import Network, trace
from gossamer.zoo import ZOO
from gossamer.zoo.mobilenet_backbones import MobileNetV1, MobileNetV2, PaddedAtTheEnd, load_backbone
from gossamer.zoo.ssdlite import SSDLite, default_boxes, map_sizes
from tests.zoo.detectors import learns_by_heart, runs_alike

SIDE = 64  # pixels: maps of 4x4, 2x2 and 1x1
BACKBONES = ["mobilenetv1", "mobilenetv2"]


def small(backbone, classes=2, **options):
    torch.manual_seed(0)
    return SSDLite(classes, SIDE, 0.25 if backbone == "mobilenetv1" else 0.2, backbone, **options)


def randomised(network):
    """Norms as after training, drawn at random."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


def half_of(network: Network) -> dict[str, np.ndarray]:
    """Half of the channels of every group, drawn at random."""
    rng = np.random.default_rng(0)
    return {group.name: group.best(rng.random(group.size), max(1, group.size // 2)) for group in network.prunable}


@pytest.mark.parametrize(
    ("size", "maps"),
    [
        (320, [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]),
        (224, [(14, 14), (7, 7), (4, 4), (2, 2), (1, 1)]),
        ((96, 200), [(6, 13), (3, 7), (2, 4), (1, 2), (1, 1)]),
        (32, [(2, 2), (1, 1)]),
    ],
)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_output_has_the_anchors_of_the_head(backbone, size, maps):
    with torch.device("meta"):  # shapes without numbers
        network = SSDLite(3, size, 0.25, backbone)
        outputs = network(torch.zeros(2, *network.input_shape))
    assert map_sizes(*network.input_shape[1:]) == maps
    assert [(level.rows, level.columns) for level in network.head.levels] == maps
    assert outputs.shape == (2, network.head.count, network.head.width)
    assert network.head.count == 6 * sum(rows * columns for rows, columns in maps)


def test_sizes_are_those_of_the_paper():
    """Sandler et al., table 6: SSDLite of MobileNetV2 has 4.3 M parameters and 0.8 G multiply-adds on COCO at 320."""
    total = 0

    def count(module, inputs, out):
        nonlocal total
        total += module.weight.numel() * out[0, 0].numel()

    with torch.device("meta"):
        network = ZOO["ssdlite320"](80).eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(count)
        network(torch.zeros(1, *network.input_shape))
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(4.3e6, rel=0.05)
    assert total == pytest.approx(0.8e9, rel=0.1)


def test_anchors_are_those_of_the_scale_rule():
    """The second of six maps of 320 pixels: its scale is 0.2 + 0.75 / 5; the last one's has no wider box than 1."""
    head = SSDLite(1, 320, 0.2).head
    scale, after = 0.35, 0.5
    expected = [
        (scale, scale),
        ((scale * after) ** 0.5,) * 2,
        (scale * 2**0.5, scale / 2**0.5),
        (scale / 2**0.5, scale * 2**0.5),
        (scale * 3**0.5, scale / 3**0.5),
        (scale / 3**0.5, scale * 3**0.5),
    ]
    np.testing.assert_allclose(head.levels[1].boxes, expected, rtol=1e-9)
    assert head.levels[-1].boxes[4] == pytest.approx((1.0, 0.95 / 3**0.5))
    np.testing.assert_allclose(head.anchors()[6 * 400 + 6 * 11, :2], [0.15, 0.15], rtol=1e-6)  # row 1, column 1 of 10


def test_anchors_may_be_those_of_people():
    network = SSDLite(1, SIDE, 0.2, ratios=(1 / 2, 1 / 3), scales=(0.1, 0.7))
    assert [len(level.boxes) for level in network.head.levels] == [2, 2, 2]
    assert network.head.levels[1].boxes[1] == pytest.approx((0.4 / 3**0.5, 0.4 * 3**0.5))
    assert network(torch.zeros(2, 3, SIDE, SIDE)).shape == (2, 2 * 21, 4 + 2)


@pytest.mark.parametrize(("part", "first", "width"), [("boxes", 0, 4), ("scores", 4, 3)])
def test_the_numbers_of_an_anchor_are_those_of_its_place(part, first, width):
    """Of map k, row r, column c and box b: channels b * width and on at that place, counted row by row."""
    torch.manual_seed(0)
    network = randomised(SSDLite(2, (64, 96), 0.2))
    maps: list[torch.Tensor] = []
    for predictor in getattr(network, part):
        predictor.register_forward_hook(lambda module, inputs, out: maps.append(out))
    with torch.no_grad():
        outputs = network(torch.randn(2, 3, 64, 96))[..., first : first + width]
    place = 0
    for one, level in zip(maps, network.head.levels, strict=True):
        for row in range(level.rows):
            for column in range(level.columns):
                for box in range(6):
                    expected = one[:, box * width : (box + 1) * width, row, column]
                    assert torch.equal(outputs[:, place], expected)
                    place += 1
    assert place == network.head.count


def test_mobilenetv2_computes_what_torchvisions_does_with_its_weights(tmp_path):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs = randomised(models.mobilenet_v2(weights=None))
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = load_backbone(MobileNetV2(), tmp_path / "weights.safetensors").eval()
    assert ours.channels == (576, 1280)
    x = torch.randn(2, 3, 96, 64)
    with torch.no_grad():
        found = ours(x)
        before = theirs.features[:14](x)
        assert torch.allclose(found.fine, theirs.features[14].conv[0](before), rtol=1e-4, atol=1e-5)
        assert torch.allclose(found.coarse, theirs.features(x), rtol=1e-4, atol=1e-5)
    assert (found.fine.shape[2:], found.coarse.shape[2:]) == ((6, 4), (3, 2))


class EvenlyPadded(nn.Conv2d):
    def forward(self, x):
        return functional.conv2d(x, self.weight, None, 2, 1, groups=self.groups)


def test_turned_kernels_are_turned_back_and_see_the_same(tmp_path):
    """A file for turned images, padded evenly, as PyTorch does, against upright ones, padded as TensorFlow does."""
    torch.manual_seed(0)
    turned = randomised(MobileNetV1(0.25))
    state = {**turned.state_dict(), "fc.weight": torch.zeros(10, 256), "fc.bias": torch.zeros(10)}
    np.savez(tmp_path / "turned.npz", **{name: value.numpy() for name, value in state.items()})
    upright = load_backbone(MobileNetV1(0.25), tmp_path / "turned.npz", turned=True).eval()
    for module in turned.modules():
        if isinstance(module, PaddedAtTheEnd):
            module.__class__ = EvenlyPadded
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        pairs = list(zip(upright(x), turned(x.flip(-2, -1)), strict=True))
    assert [tuple(one.shape[1:]) for one, _ in pairs] == [(128, 4, 6), (256, 2, 3)]
    for one, other in pairs:
        assert torch.allclose(one, other.flip(-2, -1), rtol=1e-4, atol=1e-5)


def test_tensorflows_padding_of_odd_sizes_is_even():
    layer = PaddedAtTheEnd(1, 1, 3, 2, bias=False)
    nn.init.ones_(layer.weight)
    with torch.no_grad():
        assert layer(torch.ones(1, 1, 4, 5))[0, 0].tolist() == [[6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]


@pytest.mark.parametrize("width", [0.25, 0.5])
def test_weights_of_another_architecture_are_refused(tmp_path, width):
    save_file(MobileNetV1(width).state_dict(), tmp_path / "weights.safetensors")
    if width == 0.25:
        load_backbone(MobileNetV1(0.25), tmp_path / "weights.safetensors")
        return
    with pytest.raises(
        ValueError, match=r"expected weights of a MobileNetV1 of 162 tensors in .*, got \d+ that .*\(blocks.0.0.weight"
    ):
        load_backbone(MobileNetV1(0.25), tmp_path / "weights.safetensors")


def test_backbones_take_weights_and_nothing_else_changes(tmp_path):
    torch.manual_seed(1)
    trained = randomised(MobileNetV1(0.25))
    save_file(trained.state_dict(), tmp_path / "weights.safetensors")
    network = small("mobilenetv1")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load_backbone(network.backbone, tmp_path / "weights.safetensors")
    after = network.state_dict()
    assert all(torch.equal(after[f"backbone.{name}"], value) for name, value in trained.state_dict().items())
    assert all(torch.equal(after[name], value) for name, value in before.items() if not name.startswith("backbone."))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_half_of_all_channels_can_be_cut_exactly(backbone):
    network = trace(small(backbone), torch.zeros(1, 3, SIDE, SIDE))
    stay = [group for group in network.groups if not group.removable]
    assert {group.reason for group in stay} == {"it is an output of the network"}
    outputs = {member.tensor for group in stay for member in group.members if member.role == "row"}
    assert outputs == {f"{part}.{level}.1.weight" for part in ("boxes", "scores") for level in range(3)}
    assert all(group.exact for group in network.groups)
    smaller = network.cut(half_of(network))
    assert network.check(smaller) < 1e-10
    assert smaller.parameters < 0.6 * network.parameters
    own = network.cut(half_of(network), into="module")
    assert own.boxes[0][1].in_channels == smaller.module.state_dict()["boxes.0.1.weight"].shape[1]
    assert own.head == small(backbone).head


@pytest.mark.parametrize("backbone", ["mobilenetv1", pytest.param("mobilenetv2", marks=pytest.mark.slow)])
def test_onnx_runtime_computes_the_same_at_any_batch_size(backbone):
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    runs_alike(randomised(small(backbone)), images)


def test_it_learns_two_images_by_heart():
    network = small("mobilenetv2").train()
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    learns_by_heart(network, images, steps=40, falls_to=0.3, reached=network.backbone.parameters())


def test_options_that_do_not_exist_are_refused():
    with pytest.raises(
        ValueError, match="backbone must be one of mobilenetv1, mobilenetv2, got 'mobilenetv3'; did you"
    ):
        SSDLite(1, 320, backbone="mobilenetv3")
    with pytest.raises(ValueError, match="size of SSDLite must be at least 32 pixels, got 16x320"):
        SSDLite(1, (16, 320))
    with pytest.raises(ValueError, match=r"ratios of anchors, width to height, must be above 0, got \[1, 0\]"):
        default_boxes(2, (1, 0), (0.2, 0.9))
    with pytest.raises(ValueError, match=r"scales of anchors must be two numbers that rise, .* got \[0.9, 0.2\]"):
        default_boxes(2, (1,), (0.9, 0.2))
