# SPDX-License-Identifier: Apache-2.0
"""A claim: one call of the command line that a published number comes from."""

from __future__ import annotations

from dataclasses import dataclass

#: Networks for CIFAR-10, their weights and their data, as `compress` is told of them.
RESNET20 = (
    "compress --model resnet20 --weights {data}/weights/cifar10/resnet20-12fca82f.th --data cifar10:{data}/cifar10 "
    "--preset cifar10-imagenet-stats --tolerance 1 "
)
RESNET56 = (
    "compress --model resnet56 --weights {data}/weights/cifar10/resnet56-4bfd9763.th --data cifar10:{data}/cifar10 "
    "--preset cifar10-imagenet-stats --tolerance 1 "
)
TAUGHT = "--data cifar10:{data}/cifar10 --preset cifar10-imagenet-stats "  # as ResNet-56, the teacher, was trained
VGG16 = "compress --model vgg16_bn --weights results/vgg16-baseline/model.gossamer " + TAUGHT
MOBILENETV2 = "compress --model mobilenetv2 --weights results/mobilenetv2-baseline/model.gossamer " + TAUGHT
TEACHER = "--teacher resnet56 --teacher-weights {data}/weights/cifar10/resnet56-4bfd9763.th "
#: Stores what a training left: zoo name, classes, preset, error.
STORED = (
    "store {} --weights {{run}}/weights.safetensors --classes {} --preset {} --error {} --trainable "
    "--out {{run}}/model.gossamer"
)


@dataclass(frozen=True)
class Claim:
    """One job: the gossamer arguments without --out, what it shows, and the hours it takes on two cores.

    `then`: the arguments of a second call; `{run}` stands for the folder of the first. `also`: files of the run to be
    kept beside what every claim keeps. `compared`: it is a row of a comparison, and none of README's table. `page`: the
    page of docs/ whose table shows it in place of README's.
    """

    shows: str
    arguments: str
    hours: float
    then: str | None = None
    also: tuple[str, ...] = ()
    compared: bool = False
    page: str | None = None
