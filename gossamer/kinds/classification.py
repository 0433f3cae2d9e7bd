# SPDX-License-Identifier: Apache-2.0
"""Classification: one class an image; right is the highest output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gossamer.data.arrays import check_labels
from gossamer.data.augment import crop_and_flip, cut_out
from gossamer.data.images import Split
from gossamer.data.splits import Splits
from gossamer.kinds import Quality, Targets, remark_on_areas
from gossamer.kinds.imitation import divergence

LACKING_NAMED = 5  # classes named that a split lacks
UNLABELLED = -1  # what batches give as labels of a calibration split that has none; no loss accepts it


@dataclass(frozen=True)
class Classification:
    """`agreement`: labels are what the original network itself answers."""

    agreement: bool = False

    @property
    def name(self) -> str:
        """In a word, as the report has it."""
        return "agreement" if self.agreement else "classification"

    @property
    def measured(self) -> str:
        """What the quality of an image is called."""
        return "agreement with the original" if self.agreement else "accuracy"

    def targets(self, split: Split, positions: NDArray[np.int64]) -> Targets:
        """Labels (N,)."""
        return np.full(len(positions), UNLABELLED, np.int64) if split.labels is None else split.labels[positions]

    def augmented(
        self, pixels: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, cutout: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Shifted, mirrored, and with a grey square of `cutout` pixels; labels stay."""
        pixels = crop_and_flip(pixels, generator)
        return (cut_out(pixels, generator, cutout) if cutout else pixels), targets

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy, mean over the batch; (N, classes), (N,) -> ()"""
        return functional.cross_entropy(outputs, targets)

    def imitation(self, outputs: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
        """Divergence of the class probabilities; (N, classes, ...) each -> ()"""
        return divergence(outputs, wanted, temperature)

    def quality(self, outputs: NDArray[np.float32], targets: Targets) -> Quality:
        """Is the highest output that of the label; (N, classes), (N,) -> bool (N,)

        A row with an output that is not a number is never right.
        """
        best: NDArray[np.bool_] = np.argmax(outputs, axis=1) == targets
        return best & ~np.isnan(outputs).any(axis=1)

    def judged(self, outputs: NDArray[np.float32], targets: Targets) -> tuple[Quality, list[Any]]:
        """No evidence beside it: accuracy is the mean over the images."""
        return self.quality(outputs, targets), []

    def figures(self, evidence: Sequence[Any]) -> dict[str, float]:
        """None."""
        return {}

    def in_file(self) -> dict[str, Any]:
        """Nothing: outputs are scores of classes."""
        return {}

    def check_split(self, split: Split, classes: int, where: str) -> None:
        """Raise ValueError where labels are missing or out of range."""
        if split.labels is None:
            raise ValueError(f"split '{split.name}' of {where} has no labels; only calibration can do without")
        check_labels(split, classes, where)

    def remarks(self, splits: Splits) -> Iterator[str]:
        """A remark for each split that has no image of some class, and on areas."""
        yield from remark_on_areas(splits)
        for split in (splits.train, splits.selection, splits.test):
            there = set() if split.labels is None else set(split.labels.tolist())
            lacks = [name for label, name in enumerate(splits.classes) if label not in there]
            if lacks:
                more = f" and {len(lacks) - LACKING_NAMED} more" if len(lacks) > LACKING_NAMED else ""
                names = ", ".join(f"'{name}'" for name in lacks[:LACKING_NAMED])
                yield f"split '{split.name}' has no image of class {names}{more}: nothing is known about it there"

    def check_outputs(self, outputs: torch.Tensor, example: torch.Tensor, classes: int, where: str) -> None:
        """Raise ValueError unless there is one row of class scores for each of two images."""
        if tuple(outputs.shape) != (2, classes):
            raise ValueError(
                f"the network must give {classes} outputs, one per class of {where}, got "
                f"{tuple(outputs.shape)} for 2 images; check --model and --data"
            )
