# SPDX-License-Identifier: Apache-2.0
"""Every network of the zoo: the parameters and multiply-adds that the literature counts, and what it computes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from gossamer.zoo import ZOO
from gossamer.zoo.cifar_densenet import CifarDenseNet
from gossamer.zoo.cifar_mobilenetv2 import CifarMobileNetV2
from gossamer.zoo.cifar_resnet import BasicBlock, CifarResNet
from gossamer.zoo.cifar_vgg import CifarVGG
from gossamer.zoo.ternausnet import TernausNet
from gossamer.zoo.unet import UNet

# Parameters and multiply-adds (of convolutions and linear layers) for ten classes. Published: ResNet-20/32/44/56/110
# 0.27/0.46/0.66/0.85/1.7 M (He et al., table 6) with 125.5 M and 252.9 M multiply-adds for 56 and 110; VGG-19 20.04 M
# and 398.1 M, DenseNet-40 1.02 M (Liu et al.); MobileNetV2 2.297 M and 91.2 M; LeNets 431 k and 267 k (Han et al.);
# columnar networks 4.31 M and 5.52 M (of their code); MobileNetV1 at a quarter of its width 0.47 M and 41 M for 1,000
# classes (Howard et al., table 6).
SIZES = {
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "resnet110": (1_727_962, 252_887_680),
    "vgg16_bn": (14_724_042, 313_201_664),
    "vgg19_bn": (20_035_018, 398_136_320),
    "mobilenetv2": (2_296_922, 91_154_944),
    "densenet40": (1_019_722, 264_812_928),
    "lenet5": (431_080, 2_293_000),
    "lenet5_bn": (432_220, 2_293_000),
    "lenet300100": (266_610, 266_200),
    "alexnet": (7_707_594, 225_650_688),
    "zfnet": (8_582_890, 267_429_888),
    "mobilenet": (3_217_226, 46_354_432),
    "mobilenetv1_025": (215_642, 40_776_832),
    "dccnn_mnist": (4_314_122, 278_923_264),
    "dccnn_cifar10": (5_523_946, 877_492_224),
    "emg_cnn": (113_194, 6_029_696),
}
# For one class and 256x256 pixels; published sizes are 22.93 M and 25.7 G (TernausNet-11), 31.03 M and 48.2 G (U-Net).
PIXELWISE_SIZES = {
    "ternausnet11": (22_927_393, 25_708_986_368),
    "ternausnet16": (32_202_337, 39_961_231_360),
    "unet": (31_031_745, 48_167_387_136),
}
# For the classes and the size that they have where nobody says otherwise; published for FastestDet: 0.24 M.
DETECTOR_SIZES = {
    "ssdlite320": (3_055_512, 669_995_200),
    "ssdlite224": (3_022_388, 329_028_608),
    "ssdlite224_mobilenetv1_025": (287_364, 43_962_784),
    "fastestdet": (244_490, 121_491_744),
}


def macs_of(model: nn.Module, image: torch.Tensor) -> int:
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        here = inputs[0] if isinstance(module, nn.ConvTranspose2d) else out  # where each weight is used once
        total += module.weight.numel() * (1 if isinstance(module, nn.Linear) else here[0, 0].numel())

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(image)
    return total


def test_every_network_has_its_published_size_listed() -> None:
    assert list(ZOO) == [*SIZES, *PIXELWISE_SIZES, *DETECTOR_SIZES]


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_macs(name: str) -> None:
    model = ZOO[name](10)
    image = torch.zeros(1, *model.input_shape)  # type: ignore[misc]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert (parameters, macs_of(model, image)) == SIZES[name]


@pytest.mark.parametrize("name", [*PIXELWISE_SIZES, *DETECTOR_SIZES])
def test_parameters_and_macs_of_networks_for_pixels_and_boxes(name: str) -> None:
    with torch.device("meta"):  # shapes without numbers: a pass is 48 G multiply-adds
        model = ZOO[name]()
        image = torch.zeros(1, *model.input_shape)  # type: ignore[misc]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert (parameters, macs_of(model, image)) == (PIXELWISE_SIZES | DETECTOR_SIZES)[name]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("name", ["ternausnet11", "ternausnet16", "unet"])
def test_logits_are_one_a_class_for_each_pixel_and_gradients_reach_everything(name: str, batch_norm: bool) -> None:
    torch.manual_seed(0)
    model = ZOO[name](3, width=8, batch_norm=batch_norm)
    outputs = model(torch.randn(2, 3, 32, 64))
    assert outputs.shape == (2, 3, 32, 64)
    outputs.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == batch_norm


@pytest.mark.parametrize("name", ["ternausnet11", "ternausnet16", "unet"])
def test_an_untrained_network_for_pixels_neither_explodes_nor_dies(name: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        spread = ZOO[name](1, width=8)(torch.randn(4, 3, 32, 32)).std().item()
    assert 0.3 < spread < 10


@pytest.mark.parametrize("name", ["ternausnet11", "unet"])
def test_an_answer_sees_its_own_pixels_at_full_resolution(name: str) -> None:
    """The skip of the first stage carries single pixels: an answer far from a changed pixel stays almost the same."""
    torch.manual_seed(0)
    model = ZOO[name](1, width=8).eval()
    image = torch.randn(1, 3, 64, 64)
    other = image.clone()
    other[0, :, 20, 40] += 1
    with torch.no_grad():
        change = (model(other) - model(image))[0, 0].abs()
    assert divmod(int(change.argmax()), 64)[0] in range(16, 25)
    assert divmod(int(change.argmax()), 64)[1] in range(36, 45)


@pytest.mark.parametrize(
    "name",
    [
        "resnet20",
        "vgg16_bn",
        "mobilenetv2",
        "densenet40",
        "lenet5",
        "lenet300100",
        "alexnet",
        "mobilenet",
        "mobilenetv1_025",
        "dccnn_mnist",
        "emg_cnn",
    ],
)
def test_outputs_are_one_row_of_classes_per_image_and_gradients_reach_everything(name: str) -> None:
    torch.manual_seed(0)
    model = ZOO[name](7)
    outputs = model(torch.randn(2, *model.input_shape))  # type: ignore[misc]
    assert outputs.shape == (2, 7)
    outputs.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", ["resnet56", "vgg19_bn", "densenet40"])
def test_an_untrained_network_neither_explodes_nor_dies(name: str) -> None:
    torch.manual_seed(0)
    model = ZOO[name](10).train()
    with torch.no_grad():
        spread = model(torch.randn(8, 3, 32, 32)).std(0).mean().item()
    assert 0.01 < spread < 100


def test_resnet_has_the_names_of_the_published_weights() -> None:
    names = list(ZOO["resnet20"](10).state_dict())
    assert names[:2] == ["conv1.weight", "bn1.weight"]
    assert {"layer1.0.conv1.weight", "layer2.0.bn2.running_var", "layer3.2.conv2.weight", "linear.bias"} <= set(names)
    assert not any("shortcut" in name or "downsample" in name for name in names)


def test_shortcut_a_takes_every_second_pixel_and_pads_both_sides() -> None:
    block = BasicBlock(16, 32, 2).eval()
    nn.init.zeros_(block.conv2.weight)  # then only the shortcut is left, and the last relu
    x = torch.rand(2, 16, 8, 8)
    with torch.no_grad():
        y = block(x)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert not y[:, :8].any()
    assert not y[:, 24:].any()


def test_depths_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"depth must be 6n \+ 2, got 21"):
        CifarResNet(21)
    with pytest.raises(ValueError, match="depth must be one of 16, 19, got 13"):
        CifarVGG(13)
    with pytest.raises(ValueError, match=r"depth must be 3n \+ 4, got 41"):
        CifarDenseNet(41)
    with pytest.raises(ValueError, match="depth must be one of 11, 16, got 13"):
        TernausNet(13)


def test_widths_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="width of TernausNet must be a positive multiple of 2, got 7"):
        TernausNet(11, width=7)
    with pytest.raises(ValueError, match="width of U-Net must be a positive multiple of 1, got 0"):
        UNet(width=0)


def test_mobilenetv2_keeps_its_resolution_where_the_cifar_version_does() -> None:
    model = CifarMobileNetV2().eval()
    sides = []
    x = torch.zeros(1, 32, 32, 32)
    with torch.no_grad():
        for block in model.layers:
            x = block(x)
            sides.append(x.shape[2])
    assert sides == [32] * 3 + [16] * 3 + [8] * 7 + [4] * 4


def test_listing_the_zoo_needs_no_torch() -> None:
    program = "import sys, gossamer.zoo; assert 'torch' not in sys.modules; assert len(gossamer.zoo.ZOO) == 26"
    subprocess.run([sys.executable, "-c", program], check=True)
