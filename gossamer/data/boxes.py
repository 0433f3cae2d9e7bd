# SPDX-License-Identifier: Apache-2.0
"""Objects in images: for each a box, its class, and whether it is difficult to tell; as many as there are in an image.

    row = x1, y1, x2, y2, class, difficult          image i has the rows starts[i] .. starts[i + 1] - 1

x and y are corners relative to the picture, 0 at its left and upper side, 1 at the opposite ones. Difficult objects (a
crowd, one that is hardly seen) are neither asked for nor wrong when found. For a batch, images are filled up to the
most objects with rows of zeros and the class -1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from gossamer.data.images import Split

PADDING = -1  # the class of rows beyond an image's objects
CLASS, DIFFICULT, COLUMNS = 4, 5, 6


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects of N images, one after the other; see above for `rows` and `starts`."""

    rows: NDArray[np.float32] = field(repr=False)  # (M, 6)
    starts: NDArray[np.int64] = field(repr=False)  # (N + 1,)

    def __post_init__(self) -> None:
        rows, starts = self.rows, self.starts
        if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != COLUMNS:
            raise ValueError(f"rows of boxes must be float32 (M, {COLUMNS}), got {rows.dtype} {rows.shape}")
        if starts.dtype != np.int64 or starts.ndim != 1 or not len(starts):
            raise ValueError(f"starts of boxes must be int64 (images + 1,), got {starts.dtype} {starts.shape}")
        if starts[0] != 0 or starts[-1] != len(rows) or (np.diff(starts) < 0).any():
            raise ValueError(
                f"starts of boxes must rise from 0 to the {len(rows)} rows, got {starts[0]} to {starts[-1]}; "
                "build them with Boxes.of"
            )
        corners, numbers, difficult = rows[:, :CLASS], rows[:, CLASS], rows[:, DIFFICULT]
        good = (corners >= 0).all(1) & (corners <= 1).all(1) & (corners[:, :2] < corners[:, 2:]).all(1)
        good &= (numbers >= 0) & (numbers < np.inf) & (numbers == np.floor(numbers))
        good &= (difficult == 0) | (difficult == 1)
        if not good.all():
            which = int(np.flatnonzero(~good)[0])
            image = int(np.searchsorted(starts, which, side="right")) - 1
            raise ValueError(
                "boxes must be x1, y1, x2, y2, class, difficult with 0 <= x1 < x2 <= 1, 0 <= y1 < y2 <= 1, a whole "
                f"class from 0 on, and difficult 0 or 1, got {rows[which].tolist()} in image {image}; divide corners "
                "by the sides of the picture"
            )

    @classmethod
    def of(cls, images: Iterable[NDArray[np.float32]]) -> Boxes:
        """From the rows of each image, (n, 6) where it has n objects.

        >>> boxes = Boxes.of([np.array([[0, 0, 0.5, 1, 2, 0]], np.float32), np.zeros((0, 6), np.float32)])
        >>> len(boxes), boxes.counts.tolist()
        (2, [1, 0])
        """
        parts = list(images)
        for position, part in enumerate(parts):
            if part.ndim != 2 or part.shape[1] != COLUMNS:
                raise ValueError(f"expected the boxes of an image as (n, {COLUMNS}), got {part.shape} for {position}")
        rows = np.concatenate([np.zeros((0, COLUMNS), np.float32), *parts]).astype(np.float32)
        return cls(rows, np.cumsum([0, *map(len, parts)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def counts(self) -> NDArray[np.int64]:
        """Objects in each image, (N,)."""
        return np.diff(self.starts)

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """The objects of some images, (N,) -> (N, L, 6): L is the most among them, 1 or more; the rest is padding."""
        chosen = self.choose(indices)
        counts = chosen.counts
        most = max(1, int(counts.max(initial=0)))
        out = np.zeros((len(counts), most, COLUMNS), np.float32)
        out[..., CLASS] = PADDING
        out[np.arange(most) < counts[:, None]] = chosen.rows
        return out

    def choose(self, indices: NDArray[np.int64]) -> Boxes:
        """The objects of some images, in the order of `indices`."""
        first, counts = self.starts[:-1][indices], self.counts[indices]
        starts = np.cumsum([0, *counts.tolist()], dtype=np.int64)
        where = np.repeat(first - starts[:-1], counts) + np.arange(starts[-1])
        return Boxes(self.rows[where], starts)

    def hashes(self) -> list[str]:
        """SHA-256 over the objects of each image, whatever their order, in hex."""
        found = []
        for start, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            rows = self.rows[start:end] + np.float32(0)  # -0 is 0
            rows = rows[np.lexsort(rows.T)].astype("<f4")
            found.append(hashlib.sha256(rows.tobytes()).hexdigest())
        return found


def inside(rows: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Rows (n, 6) cut at the borders of the picture, and which of the given ones had an area left, (n,).

    >>> rows, kept = inside(np.array([[-0.25, 0, 0.5, 1, 7, 0], [1.5, 0, 2, 1, 7, 0]]))
    >>> rows.tolist(), kept.tolist()
    ([[0.0, 0.0, 0.5, 1.0, 7.0, 0.0]], [True, False])
    """
    cut = np.concatenate([rows[:, :CLASS].clip(0, 1), rows[:, CLASS:]], 1).astype(np.float32)
    kept = np.asarray((cut[:, 0] < cut[:, 2]) & (cut[:, 1] < cut[:, 3]), np.bool_)
    return cut[kept], kept


def check_boxes(split: Split, classes: int, where: str) -> None:
    """Raise ValueError where boxes are missing or name a class that there is not."""
    if split.boxes is None:
        raise ValueError(f"split '{split.name}' of {where} has no boxes; only calibration can do without")
    wrong = np.flatnonzero(split.boxes.rows[:, CLASS] >= classes)
    if len(wrong):
        example = int(np.searchsorted(split.boxes.starts, wrong[0], side="right")) - 1
        raise ValueError(
            f"boxes must be of 0..{classes - 1} for {classes} classes, got {split.boxes.rows[wrong[0], CLASS]:.0f} in "
            f"example {example} of '{split.name}' in {where} ({len(wrong)} such boxes)"
        )
