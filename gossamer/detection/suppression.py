# SPDX-License-Identifier: Apache-2.0
"""How much boxes overlap, and the suppression of those that show an object a second time. Needs numpy alone.

    IoU(a, b) = area(a and b) / area(a or b),   0 where neither has an area

Boxes are corners x1, y1, x2, y2 in any unit; computed in float64. A box whose corners are the wrong way round has no
area, and one with a corner that is not a number overlaps nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]


def areas(boxes: Numbers) -> NDArray[np.float64]:
    """(M, 4) -> (M,)"""
    sides = np.maximum(boxes[:, 2:].astype(np.float64) - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1])


def intersections(a: Numbers, b: Numbers) -> NDArray[np.float64]:
    """The area that each of `a` shares with each of `b`: (M, 4), (N, 4) -> (M, N)"""
    left, top, right, bottom = a.astype(np.float64).T[:, :, None]
    wide = np.minimum(right, b[:, 2]) - np.maximum(left, b[:, 0])
    high = np.minimum(bottom, b[:, 3]) - np.maximum(top, b[:, 1])
    return np.asarray(np.maximum(wide, 0) * np.maximum(high, 0))


def overlaps(a: Numbers, b: Numbers) -> NDArray[np.float64]:
    """IoU of each of `a` with each of `b`: (M, 4), (N, 4) -> (M, N)

    >>> overlaps(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0], [2.0, 0.0, 3.0, 1.0]])).tolist()
    [[0.3333333333333333, 0.0]]
    """
    for boxes in (a, b):
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes must be (N, 4), corners x1, y1, x2, y2, got {boxes.shape}")
    shared = intersections(a, b)
    union = areas(a)[:, None] + areas(b) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppress(
    boxes: Numbers, scores: Numbers, classes: NDArray[np.integer[Any]], overlap: float, most: int | None = None
) -> NDArray[np.int64]:
    """The positions to keep, by falling score: (N, 4), (N,), (N,) -> (K,)

    Greedy non-maximum suppression, each class by itself: the best box is kept, all others of its class whose IoU with
    it is above `overlap` are dropped, and so on. Of equal scores the first comes first. After `most` boxes it stops;
    they are the first of those that it would keep without.
    """
    if boxes.shape != (len(scores), 4) or scores.ndim != 1 or classes.shape != scores.shape:
        raise ValueError(
            f"boxes, scores and classes must be (N, 4), (N,) and (N,), got {boxes.shape}, {scores.shape} and "
            f"{classes.shape}"
        )
    order = np.argsort(-scores, kind="stable")
    boxes, classes = boxes[order], classes[order]
    alive = np.ones(len(order), np.bool_)
    kept: list[int] = []
    for best in range(len(order)):
        if len(kept) == most:
            break
        if alive[best]:
            kept.append(best)
            later = slice(best + 1, None)
            rivals = best + 1 + np.flatnonzero(alive[later] & (classes[later] == classes[best]))
            alive[rivals] = overlaps(boxes[best : best + 1], boxes[rivals])[0] <= overlap
    return order[kept].astype(np.int64)
