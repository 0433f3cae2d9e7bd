# SPDX-License-Identifier: Apache-2.0
"""Quality of segmentation from counts of pixels: accuracy, IoU and Dice, of an image, of a split, of an area.

    counts[n, t, a] = pixels of image n whose class is t and whose answer is a                 (N, K, K)
    accuracy = sum_c counts[c, c] / all      IoU_c = inside / (truth + answered - inside)
                                             Dice_c = 2 inside / (truth + answered),   inside = counts[c, c]

A class that is neither in the truth nor in the answer of an image has IoU and Dice 1 there: nothing was missed, nothing
invented. Every function takes counts of any leading shape, (..., K, K); those of a split are the sum over its images,
so large objects and full images weigh more there than in the mean of the images' own qualities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
NO_CLASS = 255  # an answer that is not a number: never right


def answers(outputs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The class of each pixel: (N, 1, H, W), one logit, or (N, K, H, W) -> (N, H, W)

    One logit answers 1 where it is above zero. Pixels with an output that is not a number get NO_CLASS.
    """
    if outputs.ndim != 4 or not 1 <= outputs.shape[1] < NO_CLASS:
        raise ValueError(f"outputs must be (N, classes, H, W), or (N, 1, H, W) for one logit, got {outputs.shape}")
    best = outputs[:, 0] > 0 if outputs.shape[1] == 1 else outputs.argmax(1)
    return np.where(np.isnan(outputs).any(1), NO_CLASS, best).astype(np.uint8)


def count(answered: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> Counts:
    """Class maps (N, H, W), (N, H, W) -> (N, K, K), rows are the truth; chunks of a split are concatenated.

    A pixel without a class (NO_CLASS) counts as answered wrongly, as the class after its own.

    >>> count(np.array([[[0, 1, 1]]], np.uint8), np.array([[[0, 0, 1]]], np.uint8), 2).tolist()
    [[[1, 1], [0, 1]]]
    """
    if answered.shape != truth.shape or truth.ndim != 3:
        raise ValueError(f"answers and truth must both be (N, H, W), got {answered.shape} and {truth.shape}")
    if truth.max(initial=0) >= classes:
        raise ValueError(f"truth must be below {classes}, the number of classes, got {truth.max()}")
    wide = truth.astype(np.int64)
    given = np.where(answered == NO_CLASS, (wide + 1) % classes, answered)
    if given.max(initial=0) >= classes:
        raise ValueError(f"answers must be below {classes}, the number of classes, or {NO_CLASS}, got {given.max()}")
    size = classes * classes
    places = wide * classes + given + size * np.arange(len(truth))[:, None, None]
    return np.bincount(places.ravel(), minlength=size * len(truth)).reshape(len(truth), classes, classes)


@dataclass(frozen=True, eq=False)
class FewCounts:
    """The counts of one image without the zeros: `numbers` (M,) at `places` (M,) of `classes` x `classes`.

    Of 150 classes an image has a few; all the counts of a large split would not fit into memory.
    """

    classes: int
    places: NDArray[np.int64]
    numbers: NDArray[np.int64]


def kept(counts: Counts) -> Iterator[FewCounts]:
    """Counts (N, K, K) -> those of each image that are not zero."""
    for image in counts:
        flat = image.ravel()
        places = np.flatnonzero(flat)
        yield FewCounts(len(image), places, flat[places])


def summed(images: Sequence[FewCounts]) -> Counts:
    """The counts of all images together, (K, K); at least one image."""
    classes = images[0].classes
    total = np.zeros(classes * classes, np.int64)
    for image in images:
        total[image.places] += image.numbers
    return total.reshape(classes, classes)


def pixel_accuracy(counts: Counts) -> NDArray[np.float64]:
    """The share of pixels that are right: (..., K, K) -> (...)"""
    return _share(_inside(counts).sum(-1), counts.sum((-2, -1)))


def class_iou(counts: Counts) -> NDArray[np.float64]:
    """Intersection over union of each class: (..., K, K) -> (..., K); 1 where truth and answer have none of it."""
    inside = _inside(counts)
    return _share(inside, counts.sum(-1) + counts.sum(-2) - inside)


def class_dice(counts: Counts) -> NDArray[np.float64]:
    """Dice coefficient of each class: (..., K, K) -> (..., K); 1 where truth and answer have none of it."""
    return _share(2 * _inside(counts), counts.sum(-1) + counts.sum(-2))


def iou(counts: Counts) -> NDArray[np.float64]:
    """IoU in one number, (..., K, K) -> (...): of the foreground, or the mean over the classes that are there.

    There: in the truth or in the answer. Counting the others as 1 would make an image of 2 out of 20 classes almost
    right whatever is answered.
    """
    return _one_number(class_iou(counts), counts)


def dice(counts: Counts) -> NDArray[np.float64]:
    """Dice in one number, (..., K, K) -> (...); as `iou`."""
    return _one_number(class_dice(counts), counts)


def by_area(counts: Counts, areas: NDArray[np.int64]) -> tuple[NDArray[np.int64], Counts]:
    """Counts (N, K, K) of images in areas (N,) -> the areas (A,), sorted, and their counts (A, K, K)."""
    if len(counts) != len(areas):
        raise ValueError(f"every image needs an area, got {len(counts)} images and {len(areas)} areas")
    found, which = np.unique(areas, return_inverse=True)
    summed = np.zeros((len(found), *counts.shape[1:]), np.int64)
    np.add.at(summed, which, counts)
    return found, summed


def _inside(counts: Counts) -> Counts:
    diagonal: Counts = np.diagonal(counts, axis1=-2, axis2=-1)
    return diagonal


def _share(part: Counts, whole: Counts) -> NDArray[np.float64]:
    """part / whole, 1 where the whole is nothing."""
    nothing = whole == 0
    result: NDArray[np.float64] = np.where(nothing, 1.0, part / np.where(nothing, 1, whole))
    return result


def _one_number(values: NDArray[np.float64], counts: Counts) -> NDArray[np.float64]:
    result: NDArray[np.float64]
    if counts.shape[-1] == 2:
        result = values[..., 1]
    else:
        there = (counts.sum(-1) + counts.sum(-2)) > 0
        result = np.where(there, values, 0).sum(-1) / there.sum(-1)
    return result
