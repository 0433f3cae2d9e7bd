# SPDX-License-Identifier: Apache-2.0
"""Boxes beside the truth: what both networks find with a score of at least a half."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gossamer.data.boxes import CLASS, PADDING
from gossamer.data.images import Split
from gossamer.detection import Detections
from gossamer.device.drawing import Label, colour_of, drawn
from gossamer.kinds.detection import Detection
from gossamer.kinds.detection_quality import SHOWN
from gossamer.report.drawings import SWATCHES, Drawing, Drawings, Outputs, as_hex, in_colour
from gossamer.report.record import Swatch
from gossamer.task import Task


def boxes_drawn(
    task: Task, split: Split, positions: NDArray[np.int64], original: Outputs, compressed: Outputs
) -> Drawings:
    """The objects of each image, and the boxes of both networks with their scores."""
    kind = task.of_kind
    if not isinstance(kind, Detection):
        raise TypeError(f"boxes are drawn of detectors, got a task of {task.kind}")
    images = in_colour(split.images.take(positions))
    truths = kind.targets(split, positions)
    found = (kind.head.detect(original), kind.head.detect(compressed))
    of_images = []
    named: set[int] = set()
    for image, truth, before, after in zip(images, truths, *found, strict=True):
        panels = {"truth": _objects(truth, image), "before": _boxes(before, image), "after": _boxes(after, image)}
        named |= {label.kind for labels in panels.values() for label in labels}
        of_images.append([Drawing(name, _over(image, labels), photograph=True) for name, labels in panels.items()])
    legend = [Swatch(task.classes[number], as_hex(colour_of(number))) for number in sorted(named)[:SWATCHES]]
    return Drawings(of_images, tuple(legend))


def _objects(truth: NDArray[np.generic], image: NDArray[np.uint8]) -> list[Label]:
    rows = truth[truth[:, CLASS] != PADDING]
    return [Label(_pixels(row[:4], image), "", int(row[CLASS])) for row in rows.astype(np.float64)]


def _boxes(found: Detections, image: NDArray[np.uint8]) -> list[Label]:
    each = zip(found.boxes.astype(np.float64), found.scores.tolist(), found.classes.tolist(), strict=True)
    return [Label(_pixels(box, image), f"{score:.2f}", kind) for box, score, kind in each if score >= SHOWN]


def _pixels(corners: NDArray[np.float64], image: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (corners * (width, height, width, height)).tolist()
    return x1, y1, x2, y2


def _over(image: NDArray[np.uint8], labels: list[Label]) -> NDArray[np.uint8]:
    return np.asarray(drawn(Image.fromarray(image), labels), np.uint8)
