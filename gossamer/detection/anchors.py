# SPDX-License-Identifier: Apache-2.0
"""Anchors: boxes on a grid of places, from which a network says how far its own boxes are. Needs numpy alone."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.detection.json_values import array, named, number, pair, whole

Values = NDArray[np.float32]

# Heads are read from files of strangers: these bound what a few bytes can ask for.
MOST_ANCHORS = 2**20  # SSD300 has 8,732, FCOS at 1333 x 800 pixels some 22,400
LARGEST = 1000.0  # of any size, step or variance


@dataclass(frozen=True)
class Level:
    """A grid of places with the same anchors at each.

    `boxes` are the (width, height) of its anchors, relative to the picture. The centre of the anchors at row r and
    column c is ((c + offset) step_x, (r + offset) step_y) with step = (step_x, step_y), by default (1 / columns,
    1 / rows).
    """

    rows: int
    columns: int
    boxes: tuple[tuple[float, float], ...]
    step: tuple[float, float] | None = None
    offset: float = 0.5

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or not self.boxes:
            raise ValueError(
                f"a level needs rows, columns and boxes, got {self.rows} x {self.columns} places with "
                f"{len(self.boxes)} boxes"
            )
        if self.count > MOST_ANCHORS:
            raise ValueError(f"a level has at most {MOST_ANCHORS:,} anchors, got {self.count:,}")
        for name, sizes in (("box", self.boxes), ("step", [self.steps])):
            for size in sizes:
                if len(size) != 2 or not all(0 < side <= LARGEST for side in size):
                    raise ValueError(
                        f"a {name} of a level is a width and a height, relative to the picture and above 0, "
                        f"got {reprlib.repr(size)}"
                    )
        if not 0 <= self.offset <= 1:
            raise ValueError(f"offset must be in 0..1, of a step, got {self.offset}")

    @property
    def count(self) -> int:
        """How many anchors there are."""
        return self.rows * self.columns * len(self.boxes)

    @property
    def steps(self) -> tuple[float, float]:
        """From a place to the next one at its right, and below it."""
        return (1 / self.columns, 1 / self.rows) if self.step is None else self.step

    def anchors(self) -> Values:
        """Centre x, y, width, height of each anchor, (count, 4)."""
        found = np.empty((self.rows, self.columns, len(self.boxes), 4))
        step_x, step_y = self.steps
        found[..., 0] = ((np.arange(self.columns) + self.offset) * step_x)[:, None]
        found[..., 1] = ((np.arange(self.rows) + self.offset) * step_y)[:, None, None]
        found[..., 2:] = self.boxes
        return found.reshape(-1, 4).astype(np.float32)

    def cells(self) -> Values:
        """Corner x, y, width, height of the cell of each place, (rows * columns, 4)."""
        found = np.empty((self.rows, self.columns, 4))
        step_x, step_y = self.steps
        found[..., 0] = np.arange(self.columns) * step_x
        found[..., 1] = (np.arange(self.rows) * step_y)[:, None]
        found[..., 2:] = self.steps
        return found.reshape(-1, 4).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` inverts it."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "boxes": [list(box) for box in self.boxes],
            "step": None if self.step is None else list(self.step),
            "offset": self.offset,
        }

    @classmethod
    def from_json(cls, value: object) -> Level:
        """Inverse of `to_json`; whatever else it is given raises a ValueError."""
        found = named(value, [field.name for field in fields(cls)], "a level")
        return cls(
            whole(found["rows"], "rows"),
            whole(found["columns"], "columns"),
            tuple(pair(box, "a box") for box in array(found["boxes"], "boxes")),
            None if found["step"] is None else pair(found["step"], "step"),
            number(found["offset"], "offset"),
        )
