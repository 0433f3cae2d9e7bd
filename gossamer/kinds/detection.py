# SPDX-License-Identifier: Apache-2.0
"""Detection: boxes of objects and their classes; what counts of an image is how well its objects are found.

An image's quality is the average precision of its detections by themselves, or their F1; the average precision of all
images of a split together, which papers report, is a figure beside it (`gossamer.kinds.detection_quality`).

A network imitates another by the scores of each anchor and, where the other sees an object, by the box:

    sum_a (f_a + e) D_a / sum_a (f_a + e)  +  sum_a f_a |t_a - t'_a|_1 / sum_a f_a        f_a: the other's best score of
                                                                                          an object at anchor a
    D_a: T^2 KL of softened softmax, or of softened logistic scores, one by one           e: 0.01

after G. Chen, W. Choi, X. Yu, T. Han, M. Chandraker, "Learning Efficient Object Detection Models with Knowledge
Distillation", NeurIPS 2017, sections 3.2 and 3.3: without weights the background, nearly all anchors, would decide.

Differs from the paper: the weights come from the other network's scores and are not set by hand; boxes are compared by
a smooth L1 distance to the other's, at all of its objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gossamer.data.augment_boxes import augmented
from gossamer.data.boxes import CLASS, COLUMNS, PADDING, check_boxes
from gossamer.data.images import Split
from gossamer.data.splits import Splits
from gossamer.detection import Head
from gossamer.kinds import Quality, Targets, check_measure, remark_on_areas
from gossamer.kinds.detection_quality import (
    MATCHINGS,
    MEASURES,
    THRESHOLDS,
    Outcome,
    average_precision,
    image_quality,
    mean_average_precision,
    outcome,
)

Criterion = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
NAMES = {"ap": "AP", "f1": "F1"}
BACKGROUND_WEIGHT = 0.01
NOTHING = 1e-6  # of weight, where the other network sees no object at all


@dataclass(frozen=True)
class Detection:
    """`head`: what the network's numbers mean; `criterion`: its loss, (outputs, truth) -> (); `measure` of an image."""

    head: Head
    criterion: Criterion = field(repr=False)
    measure: str = "ap"

    def __post_init__(self) -> None:
        check_measure(self.measure, MEASURES)

    @property
    def name(self) -> str:
        """In a word, as the report has it."""
        return "detection"

    @property
    def measured(self) -> str:
        """What the quality of an image is called."""
        return NAMES[self.measure]

    def targets(self, split: Split, positions: NDArray[np.int64]) -> Targets:
        """Objects, float32 (N, L, 6): corners, class, difficult; none in a calibration split without boxes."""
        if split.boxes is None:
            rows = np.zeros((len(positions), 1, COLUMNS), np.float32)
            rows[..., CLASS] = PADDING
            return rows
        return split.boxes.take(positions)

    def augmented(
        self, pixels: torch.Tensor, targets: torch.Tensor, generator: torch.Generator, cutout: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mirrored, cropped or zoomed out, in another light; nothing is cut out."""
        pixels, targets = augmented(pixels, targets, generator)
        return pixels, targets

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The network's own; (N, A, 4 + E), (N, L, 6) -> ()"""
        return self.criterion(outputs.float(), targets)

    def imitation(self, outputs: torch.Tensor, wanted: torch.Tensor, temperature: float) -> torch.Tensor:
        """Scores where there may be something, boxes where there is; (N, A, 4 + E) each -> ()"""
        outputs, wanted = outputs.float(), wanted.float().detach()
        apart, seen = _of_scores(self.head.scoring, outputs[..., 4:], wanted[..., 4:], temperature)
        boxes = functional.smooth_l1_loss(outputs[..., :4], wanted[..., :4], reduction="none").sum(-1)
        weight = seen + BACKGROUND_WEIGHT
        return (weight * apart).sum() / weight.sum() + (seen * boxes).sum() / (seen.sum() + NOTHING)

    def quality(self, outputs: NDArray[np.float32], targets: Targets) -> Quality:
        """The measure of each image: (N, A, 4 + E), (N, L, 6) -> (N,)"""
        pairs = zip(self.head.detect(outputs), _objects(targets), strict=True)
        return np.array([image_quality(found, truth, self.measure) for found, truth in pairs], np.float64)

    def judged(self, outputs: NDArray[np.float32], targets: Targets) -> tuple[Quality, list[Any]]:
        """And of each image, which detections are right, by the rule of each matching."""
        pairs = zip(self.head.detect(outputs), _objects(targets), strict=True)
        evidence = [{matching: outcome(found, truth, matching) for matching in MATCHINGS} for found, truth in pairs]
        return np.array([MEASURES[self.measure](image["voc"]) for image in evidence], np.float64), evidence

    def figures(self, evidence: Sequence[Mapping[str, Outcome]]) -> dict[str, float]:
        """Mean average precision over the classes that have objects, by the rules of VOC and of COCO."""

        def mean(matching: str, rule: str, threshold: float) -> float:
            outcomes = [image[matching] for image in evidence]
            return mean_average_precision(average_precision(outcomes, self.head.classes, rule, threshold))

        return {
            "AP at IoU 0.5, VOC": mean("voc", "area", THRESHOLDS[0]),
            "AP at IoU 0.5, VOC 2007, 11 points": mean("voc", "11-point", THRESHOLDS[0]),
            "AP at IoU 0.5 to 0.95, COCO": float(np.mean([mean("coco", "101-point", each) for each in THRESHOLDS])),
        }

    def in_file(self) -> dict[str, Any]:
        """The head, with which a device decodes."""
        return {"head": self.head.to_json()}

    def check_split(self, split: Split, classes: int, where: str) -> None:
        """Raise ValueError where boxes are missing, there is no object at all, or a class that there is not."""
        check_boxes(split, classes, where)
        if split.boxes is not None and not len(split.boxes.rows):
            raise ValueError(f"expected objects in split '{split.name}' of {where}, got none; check --only and --data")

    def remarks(self, splits: Splits) -> Iterator[str]:
        """That images of one area are not independent."""
        yield from remark_on_areas(splits)

    def check_outputs(self, outputs: torch.Tensor, example: torch.Tensor, classes: int, where: str) -> None:
        """Raise ValueError unless there are the head's numbers for two images."""
        wanted = (2, self.head.count, self.head.width)
        if tuple(outputs.shape) != wanted:
            raise ValueError(
                f"the network must give {wanted} for 2 images of {where}, got {tuple(outputs.shape)}; check --size"
            )
        if self.head.classes != classes:
            raise ValueError(f"expected a network for the {classes} classes of {where}, got {self.head.classes}")


def _of_scores(
    scoring: str, ours: torch.Tensor, theirs: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far scores are from theirs, and how sure they are of an object: (N, A, E) each -> (N, A), (N, A)"""
    if scoring == "softmax":
        return _softmax(ours, theirs, temperature), 1 - theirs.softmax(-1)[..., 0]
    if scoring == "objectness":
        apart = _logistic(ours[..., :1], theirs[..., :1], temperature) + _softmax(
            ours[..., 1:], theirs[..., 1:], temperature
        )
        return apart, theirs[..., 0].sigmoid()
    classes = theirs[..., :-1] if scoring == "centred" else theirs
    return _logistic(ours, theirs, temperature), classes.sigmoid().amax(-1)


def _softmax(ours: torch.Tensor, theirs: torch.Tensor, temperature: float) -> torch.Tensor:
    logs, wanted = (given.div(temperature).log_softmax(-1) for given in (ours, theirs))
    return temperature**2 * functional.kl_div(logs, wanted, reduction="none", log_target=True).sum(-1)


def _logistic(ours: torch.Tensor, theirs: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL of two choices each; nothing where both are alike, as cross entropy would not be."""
    first, second = (torch.stack([given, torch.zeros_like(given)], -1) for given in (ours, theirs))
    return _softmax(first, second, temperature).sum(-1)


def _objects(targets: Targets) -> NDArray[np.float32]:
    return targets.astype(np.float32, copy=False)
