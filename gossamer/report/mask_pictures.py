# SPDX-License-Identifier: Apache-2.0
"""Answers about pixels beside the truth, and where two networks differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gossamer.data.images import Split
from gossamer.device.masks import palette
from gossamer.kinds.segmentation import BARE
from gossamer.kinds.segmentation_quality import NO_CLASS, answers
from gossamer.report.drawings import SWATCHES, Drawing, Drawings, Outputs, as_hex, in_colour
from gossamer.report.record import Swatch
from gossamer.task import Task

WORSE, BETTER, WRONG = (213, 94, 0), (86, 180, 233), (150, 150, 150)  # told apart with any colour vision
DIM = 5  # how many times darker the image lies under the difference


def masks_drawn(
    task: Task, split: Split, positions: NDArray[np.int64], original: Outputs, compressed: Outputs
) -> Drawings:
    """Image, truth, both answers, and where these differ."""
    images = in_colour(split.images.take(positions))
    truth = np.asarray(task.of_kind.targets(split, positions), np.uint8)
    before, after = answers(original), answers(compressed)
    colours = palette()
    of_images = [
        (
            Drawing("image", image, photograph=True),
            Drawing("truth", colours[right]),
            Drawing("before", colours[first]),
            Drawing("after", colours[second]),
            Drawing("difference", difference(image, right, first, second)),
        )
        for image, right, first, second in zip(images, truth, before, after, strict=True)
    ]
    there = np.unique(np.concatenate([truth, before, after]))
    named = [number for number in there.tolist() if number != NO_CLASS][:SWATCHES]
    legend = [Swatch(task.classes[number], as_hex(colours[number])) for number in named]
    legend += [Swatch("turned wrong", as_hex(WORSE)), Swatch("turned right", as_hex(BETTER))]
    if len(task.classes) > BARE:
        legend.append(Swatch("wrong in another way", as_hex(WRONG)))
    return Drawings(of_images, tuple(legend))


def difference(
    image: NDArray[np.uint8], truth: NDArray[np.uint8], before: NDArray[np.uint8], after: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Where answers (H, W) differ, over a dark image (H, W, 3): turned wrong, turned right, wrong in another way."""
    grey = (image.mean(axis=2) / DIM).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2)
    differs = before != after
    pixels[differs] = WRONG
    pixels[differs & (before == truth)] = WORSE
    pixels[differs & (after == truth)] = BETTER
    return pixels
