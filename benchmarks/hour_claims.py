# SPDX-License-Identifier: Apache-2.0
"""Claims of an hour: `auto` and each fixed recipe that makes files small, with the same tolerance and the same time."""

from __future__ import annotations

from benchmarks.claim import MOBILENETV2, RESNET20, RESNET56, VGG16, Claim

NETWORKS = {
    "resnet20": ("ResNet-20", RESNET20),
    "resnet56": ("ResNet-56", RESNET56),
    "vgg16": ("VGG-16 with batch norm", VGG16 + "--tolerance 1 "),
}
#: The recipe with its options, none of which says how far to go: that is the tolerance's business.
RECIPES = {
    "auto": "auto",
    "deep-compression": "deep-compression",
    "post-training": "post-training",
    "slim-then-sparsify": "slim-then-sparsify",
    "weight-pruning": "weight-pruning",
    "active-stepwise": "active-stepwise",
    "learned-thresholds": "learned-thresholds",
}
EPOCHS = {"slim-then-sparsify": "--epochs 1 "}  # of a cell; the others choose what fits
_GOAL = "--observed 0.5 --minimise bytes --hours 1 "


def _claim(title: str, network: str, recipe: str) -> Claim:
    words = f"{title} in an hour by {recipe}, at most 0.5 points lost"
    arguments = f"{network}{_GOAL}{EPOCHS.get(recipe, '')}--recipe {RECIPES[recipe]}"
    return Claim(words, arguments, 1.0, page="benchmarks")


HOURS: dict[str, Claim] = {
    f"hour-{name}-{recipe}": _claim(title, network, recipe)
    for name, (title, network) in NETWORKS.items()
    for recipe in RECIPES
}
#: Where only `auto` and the staircase are compared.
HOURS |= {
    f"hour-mobilenetv2-{recipe}": _claim("MobileNetV2", MOBILENETV2 + "--tolerance 1 ", recipe)
    for recipe in ("auto", "slim-then-sparsify")
}
