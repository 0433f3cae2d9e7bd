# SPDX-License-Identifier: Apache-2.0
"""From a frame to the objects in it: squeezed to the network's size, run, decoded; each step timed by itself.

    for frame in source.frames(say):
        seen = look(detector, frame, threshold=0.5)

Nothing is kept from one frame to the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.device.detector import Detector
from gossamer.device.drawing import Label
from gossamer.device.figures import Times
from gossamer.device.frames import Frame, ms_since
from gossamer.device.listing import Row

SCORE_DIGITS, PIXEL_DIGITS = 4, 1


@dataclass(frozen=True, eq=False)
class Seen:
    """What was found in a frame, the surest first, and how long it took.

    `boxes` (D, 4) are corners x1, y1, x2, y2 relative to the picture, `scores` (D,), `classes` the name of each.
    """

    frame: Frame
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    kinds: NDArray[np.int64]
    classes: tuple[str, ...]
    times: Times

    def rows(self) -> list[Row]:
        """As they are listed: corners in pixels of the stored picture."""
        return [
            Row(
                self.frame.source,
                self.frame.index,
                name,
                round(score, SCORE_DIGITS),
                *(round(value, PIXEL_DIGITS) for value in box),
            )
            for name, score, box in self._each(self.frame.size)
        ]

    def labels(self, size: tuple[int, int]) -> list[Label]:
        """As they are drawn into a picture of this width and height."""
        found = zip(self._each(size), self.kinds, strict=True)
        return [Label(box, f"{name} {score:.2f}", int(kind)) for (name, score, box), kind in found]

    def _each(self, size: tuple[int, int]) -> Iterator[tuple[str, float, tuple[float, float, float, float]]]:
        """Name, score, and corners in pixels of a picture of this width and height."""
        corners = self.boxes.astype(np.float64) * (*size, *size)
        return zip(self.classes, self.scores.tolist(), map(_four, corners.tolist()), strict=True)


def _four(corners: list[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = corners
    return x1, y1, x2, y2


def look(detector: Detector, frame: Frame, threshold: float, wanted: frozenset[int] | None = None) -> Seen:
    """The objects of the wanted classes, all where that is None, whose scores are above the threshold."""
    start = time.perf_counter()
    preprocess = detector.preprocess
    batch = preprocess.apply(preprocess.squeeze(frame.picture)[None])
    decode_ms = frame.decode_ms + ms_since(start)
    start = time.perf_counter()
    outputs = detector.outputs(batch)
    network_ms = ms_since(start)
    start = time.perf_counter()
    (found,) = detector.head.detect(outputs, threshold)
    keep = np.array([wanted is None or kind in wanted for kind in found.classes.tolist()], np.bool_)
    kinds = found.classes[keep]
    names = tuple(detector.classes[kind] for kind in kinds.tolist())
    times = Times(decode_ms, network_ms, ms_since(start))
    return Seen(frame, found.boxes[keep], found.scores[keep], kinds, names, times)
