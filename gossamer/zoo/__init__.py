# SPDX-License-Identifier: Apache-2.0
"""The architectures of the papers, one a file, by the names that the literature gives them.

`ZOO[name](classes)` builds one, untrained; torch is imported only then. On the command line some have options, as
recipes have: `unet:width=16,batch_norm=true`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gossamer.options import read_options

if TYPE_CHECKING:
    from torch import nn


def _resnet(depth: int) -> Callable[..., nn.Module]:
    def build(classes: int = 10) -> nn.Module:
        from gossamer.zoo.cifar_resnet import CifarResNet

        return CifarResNet(depth, classes)

    return build


def _vgg(depth: int) -> Callable[..., nn.Module]:
    def build(classes: int = 10) -> nn.Module:
        from gossamer.zoo.cifar_vgg import CifarVGG

        return CifarVGG(depth, classes)

    return build


def _mobilenetv2(classes: int = 10) -> nn.Module:
    from gossamer.zoo.cifar_mobilenetv2 import CifarMobileNetV2

    return CifarMobileNetV2(classes)


def _densenet40(classes: int = 10) -> nn.Module:
    from gossamer.zoo.cifar_densenet import CifarDenseNet

    return CifarDenseNet(40, 12, classes)


def _lenet5(batch_norm: bool) -> Callable[..., nn.Module]:
    def build(classes: int = 10) -> nn.Module:
        from gossamer.zoo.lenet import LeNet5

        return LeNet5(classes, batch_norm)

    return build


def _lenet300100(classes: int = 10) -> nn.Module:
    from gossamer.zoo.lenet import LeNet300100

    return LeNet300100(classes)


def _alexnet(form: str) -> Callable[..., nn.Module]:
    def build(classes: int = 10) -> nn.Module:
        from gossamer.zoo.cifar_alexnet import CifarAlexNet

        return CifarAlexNet(form, classes)

    return build


def _mobilenet(classes: int = 10) -> nn.Module:
    from gossamer.zoo.cifar_mobilenet import CifarMobileNet

    return CifarMobileNet(classes)


def _mobilenetv1_025(classes: int = 1000) -> nn.Module:
    from gossamer.zoo.mobilenet_backbones import MobileNetV1Classifier

    return MobileNetV1Classifier(classes, 0.25)


def _dccnn(data: str) -> Callable[..., nn.Module]:
    def build(classes: int = 10) -> nn.Module:
        from gossamer.zoo.dccnn import CifarDCCNN, MnistDCCNN

        return MnistDCCNN(classes) if data == "mnist" else CifarDCCNN(classes)

    return build


def _emg_cnn(classes: int = 8) -> nn.Module:
    from gossamer.zoo.emg_cnn import EmgCNN

    return EmgCNN(classes)


def _ternausnet(depth: int) -> Callable[..., nn.Module]:
    def build(classes: int = 1, width: int = 64, batch_norm: bool = False) -> nn.Module:
        from gossamer.zoo.ternausnet import TernausNet

        return TernausNet(depth, classes, width, batch_norm)

    return build


def _unet(classes: int = 1, width: int = 64, batch_norm: bool = False) -> nn.Module:
    from gossamer.zoo.unet import UNet

    return UNet(classes, width, batch_norm)


def _ssdlite(size: int, backbone: str = "mobilenetv2", width: float = 1.0) -> Callable[..., nn.Module]:
    def build(classes: int = 1, size: int | tuple[int, int] = size, width: float = width, **options: Any) -> nn.Module:
        from gossamer.zoo.ssdlite import SSDLite

        return SSDLite(classes, size, width, backbone, **options)

    return build


def _fastestdet(classes: int = 80, size: int | tuple[int, int] = 352) -> nn.Module:
    from gossamer.zoo.fastestdet import FastestDet

    return FastestDet(classes, size)


ZOO: dict[str, Callable[..., nn.Module]] = {
    "resnet20": _resnet(20),
    "resnet32": _resnet(32),
    "resnet44": _resnet(44),
    "resnet56": _resnet(56),
    "resnet110": _resnet(110),
    "vgg16_bn": _vgg(16),
    "vgg19_bn": _vgg(19),
    "mobilenetv2": _mobilenetv2,
    "densenet40": _densenet40,
    "lenet5": _lenet5(batch_norm=False),
    "lenet5_bn": _lenet5(batch_norm=True),
    "lenet300100": _lenet300100,
    "alexnet": _alexnet("alexnet"),
    "zfnet": _alexnet("zfnet"),
    "mobilenet": _mobilenet,
    "mobilenetv1_025": _mobilenetv1_025,
    "dccnn_mnist": _dccnn("mnist"),
    "dccnn_cifar10": _dccnn("cifar10"),
    "emg_cnn": _emg_cnn,
    "ternausnet11": _ternausnet(11),
    "ternausnet16": _ternausnet(16),
    "unet": _unet,
    "ssdlite320": _ssdlite(320),
    "ssdlite224": _ssdlite(224),
    "ssdlite224_mobilenetv1_025": _ssdlite(224, "mobilenetv1", width=0.25),
    "fastestdet": _fastestdet,
}
OF_THE_TASK = ("classes", "size")  # arguments of builders that data and --size give


def split_name(spec: str) -> tuple[str, str]:
    """What `--model` names in two parts: family (or file) and name; the zoo's have no family, and keep their options.

    >>> split_name("timm:resnet18"), split_name("unet:width=16")
    (('timm', 'resnet18'), ('', 'unet:width=16'))
    """
    if spec.partition(":")[0] in ZOO:
        return "", spec
    family, _, name = spec.rpartition(":")
    return family, name


def zoo_network(name: str) -> tuple[str, dict[str, Any]]:
    """The name of a zoo network alone, and the options behind it; ValueError for options that it does not have."""
    plain, _, given = name.partition(":")
    taken = inspect.signature(ZOO[plain]).parameters.values()
    usual = {p.name: p.default for p in taken if p.default is not p.empty and p.name not in OF_THE_TASK}
    return plain, read_options(given, usual, plain)
