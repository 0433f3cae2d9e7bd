# SPDX-License-Identifier: Apache-2.0
"""Claims of the staircase by itself: four networks, each walked once within 0, 0.5, 1 and 2 points, and two baselines.

A run makes the cells of all four walks once; longest last, to be dropped where time forbids.
"""

from __future__ import annotations

from benchmarks.claim import RESNET56, STORED, TAUGHT, TEACHER, VGG16, Claim

_DROPS = (
    "--observed 2 --epochs 1 --recipe slim-then-sparsify:slimming=10,pruning=10,drops=0/0.5/1/2 "
    "--numerics 'channels_last float32 products'"
)
_TRAINED = TAUGHT + TEACHER + "--learning-rate 0.1 --cutout 8 --numerics 'channels_last float32 products'"


def _trained(name: str, epochs: int) -> str:
    return f"train --model {name} --epochs {epochs} {_TRAINED}"


def _of(name: str, baseline: str) -> str:
    return f"compress --model {name} --weights results/{baseline}/model.gossamer --tolerance 3 {TAUGHT}{_DROPS}"


STAIRCASES: dict[str, Claim] = {
    "resnet56-staircase": Claim(
        "ResNet-56: the staircase within 0, 0.5, 1 and 2 points",
        RESNET56.replace("--tolerance 1 ", "--tolerance 3 ") + _DROPS,
        3.0,
        also=("grid.json",),
        page="methods/slim-then-sparsify",
    ),
    "vgg16-staircase": Claim(
        "VGG-16 with batch norm: the staircase within 0, 0.5, 1 and 2 points",
        VGG16 + "--tolerance 3 " + _DROPS,
        6.0,
        also=("grid.json",),
        page="methods/slim-then-sparsify",
    ),
    "vgg19-baseline": Claim(
        "VGG-19 with batch norm, trained here on 50,000 images by ResNet-56",
        _trained("vgg19_bn", 40),
        4.5,
        STORED.format("vgg19_bn", 10, "cifar10-imagenet-stats", 0.03),
    ),
    "densenet40-baseline": Claim(
        "DenseNet-40, trained here on 50,000 images by ResNet-56",
        _trained("densenet40", 20),
        4.0,
        STORED.format("densenet40", 10, "cifar10-imagenet-stats", 0.03),
    ),
    "vgg19-staircase": Claim(
        "VGG-19 with batch norm: the staircase within 0, 0.5, 1 and 2 points",
        _of("vgg19_bn", "vgg19-baseline"),
        7.0,
        also=("grid.json",),
        page="methods/slim-then-sparsify",
    ),
    "densenet40-staircase": Claim(
        "DenseNet-40: the staircase within 0, 0.5, 1 and 2 points",
        _of("densenet40", "densenet40-baseline"),
        9.0,
        also=("grid.json",),
        page="methods/slim-then-sparsify",
    ),
}
