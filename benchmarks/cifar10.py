# SPDX-License-Identifier: Apache-2.0
"""How claims on CIFAR-10 begin: the words of the command line for data, teacher and networks.

Networks that are published need the data folder; those that are trained here lie in results/, where the claims of
their baselines left them.
"""

from __future__ import annotations

from benchmarks.claim import STORED, Claim

#: Data, and how ResNet-56, the teacher, was trained to read it.
TAUGHT = "--data cifar10:{data}/cifar10 --preset cifar10-imagenet-stats "
TEACHER = "--teacher resnet56 --teacher-weights {data}/weights/cifar10/resnet56-4bfd9763.th "
RESNET20 = f"compress --model resnet20 --weights {{data}}/weights/cifar10/resnet20-12fca82f.th {TAUGHT}--tolerance 1 "
RESNET56 = f"compress --model resnet56 --weights {{data}}/weights/cifar10/resnet56-4bfd9763.th {TAUGHT}--tolerance 1 "


def trained_here(model: str, baseline: str) -> str:
    """The words that compress the network of a baseline's claim; a tolerance is to follow."""
    return f"compress --model {model} --weights results/{baseline}/model.gossamer {TAUGHT}"


VGG16 = trained_here("vgg16_bn", "vgg16-baseline")
MOBILENETV2 = trained_here("mobilenetv2", "mobilenetv2-baseline")
#: Hours of an epoch of training on two cores: measured, of the networks below the line estimated from their
#: multiply-adds and from VGG-16's pace.
EPOCH_HOURS = {
    "resnet20": 0.021,
    "resnet56": 0.075,
    "resnet110": 0.125,
    "vgg16_bn": 0.092,
    "mobilenetv2": 0.111,
    "dccnn_cifar10": 0.164,
    # ---
    "mobilenet": 0.07,
    "alexnet": 0.07,
    "zfnet": 0.08,
    "dccnn_mnist": 0.1,
}
TEACHER_HOURS = 0.02  # an epoch's answers of ResNet-56


def baseline(model: str, words: str, epochs: int, numerics: str, rate: float = 0.1) -> Claim:
    """A network of the zoo, trained here by ResNet-56, as VGG-16 and MobileNetV2 are."""
    return Claim(
        f"{words}, trained here on 50,000 images by ResNet-56",
        f"train --model {model} {TAUGHT}{TEACHER}--epochs {epochs} --learning-rate {rate:g} --cutout 8 "
        f"--numerics '{numerics}'",
        round(epochs * (EPOCH_HOURS[model] + TEACHER_HOURS), 1),
        STORED.format(model, 10, "cifar10-imagenet-stats", 0.03),
    )
