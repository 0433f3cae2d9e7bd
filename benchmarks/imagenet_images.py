# SPDX-License-Identifier: Apache-2.0
"""The 1,000 images of ImageNet's classes that benchmarks share, and the task of compressing without training data.

The images by content hash: 500 tune and calibrate, their labels left aside, the others decide and prove in halves.
"""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import halves, hold_out
from gossamer.data.unlabelled import HeldOut, beside
from gossamer.task import Task

CLASSES = tuple(torchvision.models.SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"])

UNLABELLED = 500
#: As TensorFlow trained: it pads at the bottom and the right, so image and kernels are turned.
TENSORFLOWS = Preprocess((127.5,) * 3, (127.5,) * 3, 224, scale=1.0, crop=224 / 256, turned=True)


def pictures(data: Path) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """The images, not yet decoded, and their labels (N,), from imagenet_nips17/images.npz in the data folder."""
    with np.load(data / "imagenet_nips17" / "images.npz") as pack:
        coded, offsets, labels = pack["jpeg"].tobytes(), pack["offsets"], pack["labels"].astype(np.int64)
    return [Image.open(io.BytesIO(coded[a:b])) for a, b in pairwise(offsets)], labels


def without_training_data(network: nn.Module, preprocess: Preprocess, data: Path, title: str) -> Task:
    """A network trained elsewhere, and the images of the data folder: nothing is trained on their labels."""
    found, labels = pictures(data)
    pixels = np.stack([preprocess.fit(picture) for picture in found])
    measured, free = hold_out(Split("all", ArrayImages(pixels), labels), UNLABELLED)
    held = HeldOut(*halves(measured), CLASSES)
    splits = beside(free, held, preprocess, network, "imagenet_nips17")
    name = f"{title} on 1,000 images of ImageNet's classes"
    return Task.build(network, preprocess, splits, name=name, seen="none")
