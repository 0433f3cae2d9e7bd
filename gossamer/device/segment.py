# SPDX-License-Identifier: Apache-2.0
"""From a picture of any size to the class of each of its pixels, tile by tile."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gossamer.device.masks import classes_of, logit
from gossamer.device.network import SegmentationNetwork
from gossamer.device.pictures import PaddedPicture
from gossamer.device.tiles import Axis, Scores, blended

OVERLAP, SHARE = 32, 4  # pixels; of smaller tiles a quarter


def usual_overlap(network: SegmentationNetwork) -> int:
    """How many pixels neighbouring tiles share where nobody says: 32, or a quarter of a small tile."""
    return min(OVERLAP, min(network.preprocess.height, network.preprocess.width) // SHARE)


def predict(
    network: SegmentationNetwork,
    picture: Image.Image,
    overlap: int,
    threshold: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.uint8]:
    """The class of each pixel of the picture, (H, W).

    `threshold` is the probability above which a pixel of a binary network is class 1. `progress` hears the tiles done
    and those in all, after each. Besides the picture and this mask, memory grows with the width of the picture alone.
    """
    tile_height, tile_width = network.preprocess.height, network.preprocess.width
    padded = PaddedPicture(picture, network.preprocess.channels, (tile_height, tile_width))
    height, width = padded.size
    rows, columns = Axis(height, tile_height, overlap), Axis(width, tile_width, overlap)
    tiles, done = len(rows.starts) * len(columns.starts), 0

    def scores_at(top: int, left: int) -> Scores:
        nonlocal done
        scores = network.scores(padded.window(top, left, tile_height, tile_width))
        done += 1
        if progress is not None:
            progress(done, tiles)
        return scores

    limit = threshold if network.probabilities else logit(threshold)
    mask = np.empty((height, width), np.uint8)
    for block in blended(rows, columns, scores_at):
        classes = classes_of(block.scores, limit)
        mask[block.top : block.top + classes.shape[0], block.left : block.left + classes.shape[1]] = classes
    top, left = padded.corner
    return mask[top : top + picture.height, left : left + picture.width]
