# SPDX-License-Identifier: Apache-2.0
"""Masks: from scores to classes, as PNG files whose pixels are class indices, and laid over the image.

A mask is an 8-bit PNG with a palette: programs read the index of the class (0, 1, 2, ...), people see a colour.
"""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gossamer.files import written_aside

#: Okabe and Ito's colours, which people with any colour vision tell apart; class 0 is the background.
COLOURS = (
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
ENTRIES = 256  # a shorter palette would be written with fewer than 8 bits a pixel
GOLDEN = (math.sqrt(5) - 1) / 2  # steps of hue that never come close to an earlier one
BAND = 256  # rows that are blended at once


def palette() -> NDArray[np.uint8]:
    """The colour of each class index, (256, 3).

    >>> palette()[:2].tolist()
    [[0, 0, 0], [230, 159, 0]]
    """
    colours = list(COLOURS)
    for index in range(len(COLOURS), ENTRIES):
        red, green, blue = colorsys.hsv_to_rgb(index * GOLDEN % 1, (0.9, 0.6)[index % 2], (1.0, 0.8, 0.6)[index % 3])
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return np.array(colours, np.uint8)


def logit(threshold: float) -> float:
    """The score whose sigmoid is the threshold.

    >>> logit(0.5)
    0.0
    """
    return math.log(threshold) - math.log1p(-threshold)


def classes_of(scores: NDArray[np.float32], limit: float) -> NDArray[np.uint8]:
    """Class indices (H, W) of scores (K, H, W): the highest, or with K = 1 whether the score is above `limit`."""
    classes = scores[0] > np.float32(limit) if len(scores) == 1 else scores.argmax(axis=0)
    return np.asarray(classes, np.uint8)


def write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    """Class indices (H, W) as a PNG, whole or not at all."""
    image = Image.fromarray(mask)
    image.putpalette(palette().tobytes())
    with written_aside(path) as part:
        image.save(part, format="PNG")


def write_overlay(path: Path, picture: Image.Image, mask: NDArray[np.uint8]) -> None:
    """The picture as a PNG, half its colour replaced by that of the class wherever that is not class 0."""
    blend = picture.convert("RGB")  # a copy, also of what is RGB: the caller keeps the picture
    colours = palette().astype(np.uint16)
    for top in range(0, blend.height, BAND):
        band = mask[top : top + BAND]
        pixels = np.array(blend.crop((0, top, blend.width, top + len(band))))
        painted = band > 0
        pixels[painted] = (pixels[painted] + colours[band[painted]] + 1) // 2
        blend.paste(Image.fromarray(pixels), (0, top))
    with written_aside(path) as part:
        blend.save(part, format="PNG", compress_level=1)  # a quarter of the time, a third more bytes
