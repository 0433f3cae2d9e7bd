# SPDX-License-Identifier: Apache-2.0
"""Segmentation: the class of each pixel; what counts of an image is how well the areas of its classes are met."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gossamer.data.augment_masks import change_light, crop_and_turn
from gossamer.data.images import Split, chunks
from gossamer.data.splits import Splits
from gossamer.kinds import Quality, Targets, check_measure, remark_on_areas
from gossamer.kinds.imitation import divergence
from gossamer.kinds.segmentation_loss import segmentation_loss
from gossamer.kinds.segmentation_quality import (
    Counts,
    answers,
    count,
    dice,
    iou,
    kept,
    pixel_accuracy,
    summed,
)

MEASURES: dict[str, Callable[[Counts], NDArray[np.float64]]] = {"iou": iou, "dice": dice, "accuracy": pixel_accuracy}
CALLED = {"iou": "IoU", "dice": "Dice", "accuracy": "pixel accuracy"}
MASKS_AT_ONCE = 64  # looked at while splits are checked
BEYOND = 8  # of a side, the part that a crop may reach beyond an image
BARE = 2  # classes that one logit tells apart


@dataclass(frozen=True)
class Segmentation:
    """`measure`: of `MEASURES`, computed for each image by itself."""

    measure: str = "iou"

    def __post_init__(self) -> None:
        check_measure(self.measure, MEASURES)

    @property
    def name(self) -> str:
        """In a word, as the report has it."""
        return "segmentation"

    @property
    def measured(self) -> str:
        """What the quality of an image is called."""
        return CALLED[self.measure]

    def targets(self, split: Split, positions: NDArray[np.int64]) -> Targets:
        """Classes of pixels, uint8 (N, H, W); all 0 in a calibration split without masks."""
        if split.masks is None:
            return np.zeros((len(positions), *split.images.shape[:2]), np.uint8)
        return split.masks.take(positions)[..., 0]

    def augmented(
        self, pixels: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, cutout: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cropped at a random place, mirrored, turned, and in another light; nothing is cut out.

        Crops are as large as the image: up to an eighth of a side they reach beyond it, where it goes on mirrored.
        """
        margin = min(pixels.shape[2:]) // BEYOND
        pixels, targets = crop_and_turn(pixels, targets, generator, margin=margin)
        return change_light(pixels, generator), targets

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Entropy of the pixels and soft Jaccard index; (N, 1 or classes, H, W), (N, H, W) -> ()"""
        return segmentation_loss(outputs, targets)

    def imitation(self, outputs: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
        """Divergence of the class probabilities; (N, classes, ...) each -> ()"""
        return divergence(outputs, wanted, temperature)

    def quality(self, outputs: NDArray[np.float32], targets: Targets) -> Quality:
        """The measure of each image: (N, 1 or classes, H, W), (N, H, W) -> (N,)"""
        return MEASURES[self.measure](self.counts(outputs, targets))

    def judged(self, outputs: NDArray[np.float32], targets: Targets) -> tuple[Quality, list[Any]]:
        """And the pixels by truth and answer of each image, without the zeros."""
        counts = self.counts(outputs, targets)
        return MEASURES[self.measure](counts), list(kept(counts))

    def figures(self, evidence: Sequence[Any]) -> dict[str, float]:
        """The measures of all pixels together, where a large object weighs more than a small one."""
        if not evidence:
            return {}
        counts = summed(evidence)
        return {
            "IoU of all pixels": float(iou(counts)),
            "Dice of all pixels": float(dice(counts)),
            "accuracy of all pixels": float(pixel_accuracy(counts)),
        }

    def counts(self, outputs: NDArray[np.float32], targets: Targets) -> Counts:
        """Pixels by truth and answer, (N, K, K)."""
        return count(answers(outputs), targets.astype(np.uint8), max(BARE, outputs.shape[1]))

    def in_file(self) -> dict[str, Any]:
        """Nothing: outputs are scores of classes."""
        return {}

    def check_split(self, split: Split, classes: int, where: str) -> None:
        """Raise ValueError where masks are missing or name a class that there is not."""
        if split.masks is None:
            raise ValueError(f"split '{split.name}' of {where} has no masks; only calibration can do without")
        for positions in chunks(len(split), MASKS_AT_ONCE):
            highest = split.masks.take(positions).max((1, 2, 3))
            if (highest >= classes).any():
                which = int(np.flatnonzero(highest >= classes)[0])
                raise ValueError(
                    f"masks must be in 0..{classes - 1} for {classes} classes, got {highest[which]} in example "
                    f"{positions[which]} of '{split.name}' in {where}"
                )

    def remarks(self, splits: Splits) -> Iterator[str]:
        """That images of one area are not independent."""
        yield from remark_on_areas(splits)

    def check_outputs(self, outputs: torch.Tensor, example: torch.Tensor, classes: int, where: str) -> None:
        """Raise ValueError unless there are scores for each pixel of two images."""
        size = tuple(example.shape[2:])
        allowed = [(2, classes, *size), *([(2, 1, *size)] if classes == BARE else [])]
        if tuple(outputs.shape) not in allowed:
            raise ValueError(
                f"the network must give {' or '.join(map(str, allowed))} for 2 images of {where}, got "
                f"{tuple(outputs.shape)}; check --model and --data"
            )
