# SPDX-License-Identifier: Apache-2.0
"""The head of a detection network: numbers and words that say what its one output means. Needs numpy alone.

    outputs (N, A, 4 + E) -> boxes (N, A, 4), scores (N, A, classes) -> of each image its `Detections`

A anchors lie on the grids of one or several levels, ordered by level, row, column and box, as torchvision flattens
them. Boxes are corners x1, y1, x2, y2 relative to the picture, 0 to 1. How numbers become boxes and scores is in
`codes.py`. Then, as torchvision's SSD has it: of each class the boxes with a score above `threshold`, the best
`candidates` of them; those that overlap a better one of their class by more than `overlap` are suppressed; the best
`most` of all classes are found.

Differs from torchvision: boxes without an area (outside the picture, or inside out) are left out before anything is
counted. Its RetinaNet and FCOS take the best candidates of each level, whatever their classes; here it is of each
class, whatever the levels. With scoring `objectness` an anchor has its best class only, as in FastestDet: the power of
0.4 would make a second class of almost any.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.detection.anchors import LARGEST, MOST_ANCHORS, Level
from gossamer.detection.codes import (
    CODINGS,
    SCORINGS,
    decode_cells,
    decode_distances,
    decode_offsets,
    encode_distances,
    encode_offsets,
)
from gossamer.detection.json_values import array, named, number, whole, word
from gossamer.detection.suppression import suppress
from gossamer.near import meant

Values = NDArray[np.float32]

MOST_CLASSES = 2**14
MOST_OUTPUTS = 2**26  # numbers for one image, 256 MiB


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in an image, by falling score: corners (D, 4) from 0 to 1, scores (D,), classes int64 (D,)."""

    boxes: Values
    scores: Values
    classes: NDArray[np.int64]

    def __post_init__(self) -> None:
        shapes = self.boxes.shape, self.scores.shape, self.classes.shape
        if self.scores.ndim != 1 or shapes != ((len(self), 4), (len(self),), (len(self),)):
            raise ValueError(f"boxes, scores and classes must be (D, 4), (D,) and (D,), got {shapes}")
        if not (np.isfinite(self.scores).all() and np.isfinite(self.boxes).all()):
            raise ValueError("boxes and scores of detections must be finite, got some that are not")
        if (np.diff(self.scores) > 0).any():
            raise ValueError("detections must come by falling score, got a higher one after a lower; sort them")

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Head:
    """What the numbers of a network's output mean, and which boxes count as found.

    `coding` is one of `CODINGS`, `scoring` one of `SCORINGS`; `classes` is their number, without background. The last
    numbers are of `others`, classes that the network tells apart too but nobody asks for. Only `offsets` have
    `variances`. `cells` need one box a place, whose size is of no account.
    """

    levels: tuple[Level, ...]
    coding: str
    scoring: str
    classes: int
    variances: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    threshold: float = 0.05
    overlap: float = 0.45
    most: int = 100
    candidates: int = 400
    others: int = 0

    def __post_init__(self) -> None:
        for name, value, known in (("coding", self.coding, CODINGS), ("scoring", self.scoring, SCORINGS)):
            if value not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {reprlib.repr(value)}{meant(value, known)}"
                )
        if not 1 <= self.classes <= MOST_CLASSES:
            raise ValueError(f"a head has 1 to {MOST_CLASSES:,} classes, got {self.classes}")
        if not 0 <= self.others <= MOST_CLASSES:
            raise ValueError(f"a head has 0 to {MOST_CLASSES:,} other classes, got {self.others}")
        if self.others and self.scoring == "centred":
            raise ValueError("a head whose scoring is centred has no other classes: its last number is centredness")
        if not 1 <= self.count <= MOST_ANCHORS:
            raise ValueError(f"a head has 1 to {MOST_ANCHORS:,} anchors, got {self.count:,}")
        if self.count * self.width > MOST_OUTPUTS:
            raise ValueError(
                f"an image has at most {MOST_OUTPUTS:,} outputs, got {self.count:,} anchors with {self.width:,} numbers"
            )
        if self.coding == "cells" and any(len(level.boxes) != 1 for level in self.levels):
            raise ValueError(
                f"cells need one box a place, got {[len(level.boxes) for level in self.levels]} in the levels"
            )
        if len(self.variances) != 4 or not all(0 < variance <= LARGEST for variance in self.variances):
            raise ValueError(f"variances must be 4 numbers above 0, got {reprlib.repr(self.variances)}")
        _check_threshold(self.threshold)
        if not 0 < self.overlap <= 1:
            raise ValueError(f"overlap must be in (0, 1], an IoU, got {self.overlap}")
        if self.most < 1 or self.candidates < 1:
            raise ValueError(f"most and candidates must be at least 1, got {self.most} and {self.candidates}")

    @property
    def count(self) -> int:
        """A, how many anchors there are."""
        return sum(level.count for level in self.levels)

    @property
    def width(self) -> int:
        """4 + E, how many numbers an anchor has."""
        return 4 + SCORINGS[self.scoring][0] + self.classes + self.others

    def anchors(self) -> Values:
        """Centre x, y, width, height of each anchor, relative to the picture; not clipped to it. (A, 4)"""
        return self._anchors.copy()

    @cached_property
    def _anchors(self) -> Values:
        return np.concatenate([level.anchors() for level in self.levels])

    @cached_property
    def _cells(self) -> Values:
        return np.concatenate([level.cells() for level in self.levels])

    def encode(self, boxes: Values, anchors: Values) -> Values:
        """The four numbers that `decode` makes these boxes of: corners (..., 4), anchors (..., 4) -> (..., 4)

        The formulas are in `codes.py`. ValueError for `cells`, whose place is part of their code.
        """
        if self.coding == "cells":
            raise ValueError("boxes are encoded for offsets and distances, got a head with cells")
        if self.coding == "distances":
            return encode_distances(boxes, anchors)
        return encode_offsets(boxes, anchors, self.variances)

    def decode(self, outputs: NDArray[np.floating[Any]]) -> tuple[Values, Values]:
        """Boxes and scores of all anchors: (N, A, 4 + E) -> corners clipped to 0..1 (N, A, 4), (N, A, classes)

        An anchor with an output that is not finite has no scores, and an empty box.
        """
        if outputs.ndim != 3 or outputs.shape[1:] != (self.count, self.width):
            raise ValueError(f"outputs must be (N, {self.count}, {self.width}) for this head, got {outputs.shape}")
        with np.errstate(over="ignore"):  # infinite numbers are found here, infinite corners clipped
            numbers = outputs.astype(np.float32)
            broken = ~np.isfinite(numbers).all(-1)
            numbers[broken] = 0
            boxes = self._corners(numbers[..., :4]).clip(0, 1)
        scores = SCORINGS[self.scoring][1](numbers[..., 4:])[..., : self.classes]
        boxes[broken], scores[broken] = 0, 0
        return boxes, scores

    def detect(self, outputs: NDArray[np.floating[Any]], threshold: float | None = None) -> list[Detections]:
        """What was found in each image: (N, A, 4 + E) -> N; `threshold` instead of the head's own."""
        limit = self.threshold if threshold is None else threshold
        _check_threshold(limit)
        return [self._found(*pair, limit) for pair in zip(*self.decode(outputs), strict=True)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` inverts it."""
        return {
            "levels": [level.to_json() for level in self.levels],
            "coding": self.coding,
            "scoring": self.scoring,
            "classes": self.classes,
            "variances": list(self.variances),
            "threshold": self.threshold,
            "overlap": self.overlap,
            "most": self.most,
            "candidates": self.candidates,
            "others": self.others,
        }

    @classmethod
    def from_json(cls, value: object) -> Head:
        """Inverse of `to_json`; whatever else it is given raises a ValueError."""
        found = named(value, [field.name for field in fields(cls)], "a head")
        variances = tuple(number(variance, "a variance") for variance in array(found["variances"], "variances"))
        return cls(
            tuple(Level.from_json(level) for level in array(found["levels"], "levels")),
            word(found["coding"], "coding"),
            word(found["scoring"], "scoring"),
            whole(found["classes"], "classes"),
            variances,  # type: ignore[arg-type]  # how many they are is checked there
            number(found["threshold"], "threshold"),
            number(found["overlap"], "overlap"),
            whole(found["most"], "most"),
            whole(found["candidates"], "candidates"),
            whole(found["others"], "others"),
        )

    def _corners(self, numbers: Values) -> Values:
        if self.coding == "cells":
            return decode_cells(numbers, self._cells)
        if self.coding == "distances":
            return decode_distances(numbers, self._anchors)
        return decode_offsets(numbers, self._anchors, self.variances)

    def _found(self, boxes: Values, scores: Values, limit: float) -> Detections:
        """Of one image: (A, 4), (A, classes)."""
        good = (scores > limit) & (boxes[:, 2:] > boxes[:, :2]).all(1, keepdims=True)
        if self.scoring == "objectness":
            good &= np.arange(self.classes) == scores.argmax(1)[:, None]
        which, classes = np.nonzero(good)
        values = scores[which, classes]
        order = np.lexsort((-values, classes))
        rank = np.arange(len(order)) - np.searchsorted(classes[order], classes[order])
        order = order[rank < self.candidates]
        order = order[suppress(boxes[which[order]], values[order], classes[order], self.overlap, self.most)]
        return Detections(boxes[which[order]], values[order], classes[order])


def _check_threshold(threshold: float) -> None:
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be in [0, 1), a score, got {threshold}")
