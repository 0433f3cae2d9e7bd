# SPDX-License-Identifier: Apache-2.0
"""MobileNetV1, a quarter as wide, with its ImageNet weights, and 1,000 images: 500 without labels, 500 to measure with.

--data benchmarks/mobilenetv1.py:task needs GOSSAMER_DATA with imagenet_nips17/images.npz and
weights/imagenet/mobilenet_v1_025_rot180.npz, whose kernels are turned by 180 degrees already.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.filing import data_folder
from benchmarks.imagenet_images import CLASSES, TENSORFLOWS, without_training_data
from gossamer.described_task import trained_model
from gossamer.task import Task

WEIGHTS = "weights/imagenet/mobilenet_v1_025_rot180.npz"


def task() -> Task:
    """What `--data benchmarks/mobilenetv1.py:task` names."""
    return task_of(data_folder())


def task_of(data: Path) -> Task:
    """The network and the images of a data folder."""
    network = trained_model("mobilenetv1_025", data / WEIGHTS, len(CLASSES))
    return without_training_data(network, TENSORFLOWS, data, "MobileNetV1, a quarter as wide")
