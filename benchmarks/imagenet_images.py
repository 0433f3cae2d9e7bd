# SPDX-License-Identifier: Apache-2.0
"""The 1,000 images of ImageNet's classes that benchmarks share, and the names of the classes."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import torchvision
from numpy.typing import NDArray
from PIL import Image

CLASSES = tuple(torchvision.models.SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"])


def pictures(data: Path) -> tuple[list[Image.Image], NDArray[np.int64]]:
    """The images, not yet decoded, and their labels (N,), from imagenet_nips17/images.npz in the data folder."""
    with np.load(data / "imagenet_nips17" / "images.npz") as pack:
        coded, offsets, labels = pack["jpeg"].tobytes(), pack["offsets"], pack["labels"].astype(np.int64)
    return [Image.open(io.BytesIO(coded[a:b])) for a, b in pairwise(offsets)], labels
