# SPDX-License-Identifier: Apache-2.0
"""Claims on CIFAR-10 that start from networks trained here, and the hours that an epoch of each network takes."""

from __future__ import annotations

from benchmarks.claim import STORED, TAUGHT, TEACHER, Claim

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


def trained_here(model: str, baseline: str) -> str:
    """The words that compress the network of a baseline's claim; a tolerance is to follow."""
    return f"compress --model {model} --weights results/{baseline}/model.gossamer {TAUGHT}"


def baseline(model: str, words: str, epochs: int, numerics: str, rate: float = 0.1) -> Claim:
    """A network of the zoo, trained here by ResNet-56, as VGG-16 and MobileNetV2 are."""
    return Claim(
        f"{words}, trained here on 50,000 images by ResNet-56",
        f"train --model {model} {TAUGHT}{TEACHER}--epochs {epochs} --learning-rate {rate:g} --cutout 8 "
        f"--numerics '{numerics}'",
        round(epochs * (EPOCH_HOURS[model] + TEACHER_HOURS), 1),
        STORED.format(model, 10, "cifar10-imagenet-stats", 0.03),
    )
