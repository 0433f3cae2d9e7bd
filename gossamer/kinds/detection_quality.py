# SPDX-License-Identifier: Apache-2.0
"""Quality of detection: which boxes are right, average precision of a split, and one number for an image.

The truth of an image is float32 (L, 6): corners x1, y1, x2, y2 relative to the picture, the class, 1 where the object
is difficult; rows beyond its objects have class -1. Detections are taken by falling score, each class by itself:

    voc     the truth is the object of highest IoU, taken or not. IoU >= t: ignored if that is difficult, right if it
            is free, wrong (a double) if it is taken. Else wrong.
            Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, section 4.2, and
            VOCevaldet.m of its development kit
    coco    the truth is the free object of highest IoU >= t that is not difficult: right. If there is none, ignored
            where a difficult object covers t of the detection's own area. Else wrong.
            Lin et al., "Microsoft COCO", ECCV 2014, and evaluateImg in cocoeval.py of its tools; difficult is iscrowd

    precision_n = right_n / n,  recall_n = right_n / objects,    of the n best detections that are not ignored
    p(r) = max of precision_n where recall_n >= r;  0 where there is none
    area        mean over the objects k = 1..K of p(k / K): the area under p         VOC from 2010 on
    11-point    mean of p(0), p(0.1), ..., p(1)                                      VOC to 2009
    101-point   mean of p(0), p(0.01), ..., p(1)                                     COCO

Neither ignored detections nor difficult objects count. Differs from the sources: boxes are relative, so VOC's one pixel
more in width and height is not added; recall is compared with r in integers, where the sources' floating point may miss
an equality; COCO's limit of 100 detections of an image and class is left to the head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.detection import Detections
from gossamer.detection.suppression import areas, intersections, overlaps
from gossamer.kinds import check_measure
from gossamer.near import meant

Truth = NDArray[np.float32]

RIGHT, WRONG, IGNORED = 1, 0, -1
THRESHOLDS = np.arange(50, 100, 5) / 100  # of IoU: 0.5, 0.55, ..., 0.95
SHOWN = 0.5  # the score from which a detection counts in the quality of an image by itself
POINTS = {"11-point": 11, "101-point": 101}
RULES = ("area", *POINTS)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of the detections of one image, by falling score."""

    scores: NDArray[np.float32]  #: (D,)
    classes: NDArray[np.int64]  #: (D,)
    verdicts: NDArray[np.int8]  #: RIGHT, WRONG or IGNORED at each of THRESHOLDS, (10, D)
    objects: NDArray[np.int64]  #: the classes of the objects that are not difficult, (L',)


def outcome(found: Detections, truth: Truth, matching: str = "voc") -> Outcome:
    """Detections of an image against its truth (L, 6); `matching` is a key of `MATCHINGS`."""
    if matching not in MATCHINGS:
        raise ValueError(
            f"matching must be one of {', '.join(MATCHINGS)}, got '{matching}'{meant(matching, MATCHINGS)}"
        )
    if truth.ndim != 2 or truth.shape[1] != 6:
        raise ValueError(
            f"the truth of an image must be (L, 6), corners, class and 1 where difficult, got {truth.shape}"
        )
    truth = truth[truth[:, 4] >= 0]
    boxes, classes, difficult = truth[:, :4], truth[:, 4].astype(np.int64), truth[:, 5] != 0
    same = found.classes[:, None] == classes
    verdicts = MATCHINGS[matching](found.boxes, boxes, same, difficult)
    return Outcome(found.scores, found.classes, verdicts, classes[~difficult])


def average_precision(
    outcomes: Sequence[Outcome], classes: int, rule: str = "area", threshold: float = THRESHOLDS[0]
) -> NDArray[np.float64]:
    """Average precision of each class over all images, (classes,); NaN for a class without objects.

    `rule` is one of `RULES`, `threshold` one of `THRESHOLDS`. Of equal scores the earlier image comes first.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got '{rule}'{meant(rule, RULES)}")
    at = np.flatnonzero(np.isclose(THRESHOLDS, threshold))
    if len(at) != 1:
        raise ValueError(f"threshold must be one of {', '.join(map(str, THRESHOLDS))}, got {threshold}")
    if not outcomes:
        return np.full(classes, np.nan)
    verdicts = np.concatenate([each.verdicts[at[0]] for each in outcomes])
    named = np.concatenate([each.classes for each in outcomes])
    objects = np.bincount(np.concatenate([each.objects for each in outcomes]), minlength=classes)
    order = np.argsort(-np.concatenate([each.scores for each in outcomes]), kind="stable")
    order = order[verdicts[order] != IGNORED]
    right, named = verdicts[order] == RIGHT, named[order]
    return np.array([_precision(right[named == k], int(objects[k]), rule) for k in range(classes)])


def mean_average_precision(precisions: NDArray[np.float64]) -> float:
    """The mean over the classes that have objects; NaN where none has any."""
    known = precisions[~np.isnan(precisions)]
    return float(known.mean()) if len(known) else float("nan")


def image_average_precision(image: Outcome) -> float:
    """Average precision of an image by itself, IoU 0.5, rule `area`: the mean over the classes that are there.

    There: in the truth, or among the detections with a score of at least 0.5 that are not ignored; a class that is only
    among these has 0, and an image where none is there has 1. So an image without objects has 1 if nothing is shown on
    it, else 0.

    Average precision needs no threshold where there are objects: all detections are ranked, and wrong ones after the
    last right one change nothing. Where there are none it is not defined, and any rule must say which detections count.
    If all did, nearly every image would have faint detections of nearly every class, each a 0 in the mean, and the
    number would follow the head's `threshold` instead of the network.
    """
    counted = image.verdicts[0] != IGNORED
    there = np.union1d(image.objects, image.classes[counted & (image.scores >= SHOWN)])
    right = image.verdicts[0] == RIGHT
    found = [
        _precision(right[counted & (image.classes == k)], int((image.objects == k).sum()), "area", without=0.0)
        for k in there
    ]
    return float(np.mean(found)) if found else 1.0


def image_f1(image: Outcome) -> float:
    """F1 of an image's detections with a score of at least 0.5, at IoU 0.5, all classes together.

    2 right / (right + wrong + objects); 1 where there is nothing to find and nothing was found.
    """
    shown = image.verdicts[0][image.scores >= SHOWN]
    whole = int((shown != IGNORED).sum()) + len(image.objects)
    return 2 * int((shown == RIGHT).sum()) / whole if whole else 1.0


MEASURES: dict[str, Callable[[Outcome], float]] = {"ap": image_average_precision, "f1": image_f1}


def image_quality(found: Detections, truth: Truth, measure: str) -> float:
    """Quality of an image by itself, from 0 to 1: `measure` of `MEASURES`, truth (L, 6)."""
    check_measure(measure, MEASURES)
    return MEASURES[measure](outcome(found, truth))


def coco_figures(found: Sequence[Detections], truths: Sequence[Truth]) -> dict[str, float]:
    """AP, AP50 and AP75 of a split as COCO's own tools compute them, by torchmetrics; NaN where there are no objects.

    Difficult objects are handed over as crowds. There are no figures by size: boxes are relative, sizes in pixels.
    ValueError where torchmetrics or pycocotools is missing.
    """
    import torch

    try:
        from torchmetrics.detection import MeanAveragePrecision

        metric = MeanAveragePrecision(box_format="xyxy", iou_type="bbox", backend="pycocotools")
    except ImportError as error:
        raise ValueError(
            "COCO's figures need torchmetrics and pycocotools; pip install -e '.[detection]' in the clone of Gossamer"
        ) from error
    metric.warn_on_many_detections = False
    for image, truth in zip(found, truths, strict=True):
        objects = truth[truth[:, 4] >= 0]
        labels, crowds = objects[:, 4].astype(np.int64), (objects[:, 5] != 0).astype(np.int64)
        answers = {"boxes": image.boxes, "scores": image.scores, "labels": image.classes}
        targets = {"boxes": objects[:, :4], "labels": labels, "iscrowd": crowds}
        metric.update(*([{key: torch.tensor(array) for key, array in each.items()}] for each in (answers, targets)))
    values = metric.compute()
    names = {"AP": "map", "AP50": "map_50", "AP75": "map_75"}
    return {name: value if (value := float(values[key])) >= 0 else float("nan") for name, key in names.items()}


def _voc(
    found: NDArray[np.float32], truth: Truth, same: NDArray[np.bool_], difficult: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """Boxes (D, 4), (L, 4), whether they are of one class (D, L), difficult (L,) -> verdicts (10, D)"""
    verdicts = np.full((len(THRESHOLDS), len(found)), WRONG, np.int8)
    if not same.any():
        return verdicts
    iou = np.where(same, overlaps(found, truth), 0)
    best = iou.argmax(1)
    hit = iou.max(1) >= THRESHOLDS[:, None]  # (10, D)
    for place in np.unique(best[hit[0]]):
        mine = hit & (best == place)
        if difficult[place]:
            verdicts[mine] = IGNORED
        else:
            verdicts[mine & (mine.cumsum(1) == 1)] = RIGHT
    return verdicts


def _coco(
    found: NDArray[np.float32], truth: Truth, same: NDArray[np.bool_], difficult: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """As `_voc`."""
    shared = np.where(same, intersections(found, truth), 0)
    own = areas(found)[:, None]
    covered = np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)[:, difficult]
    ignored = covered.max(1, initial=0) >= THRESHOLDS[:, None]  # (10, D)
    verdicts = np.where(ignored, IGNORED, WRONG).astype(np.int8)
    plain = np.flatnonzero(~difficult)[::-1]  # of equal IoU the last is taken, as there
    iou = np.where(same[:, plain], overlaps(found, truth[plain]), 0)
    taken = np.zeros((len(THRESHOLDS), len(plain)), np.bool_)
    for place in np.flatnonzero(iou.max(1, initial=0) >= THRESHOLDS[0]):
        free = np.where(taken, 0, iou[place])
        best, hit = free.argmax(1), free.max(1) >= THRESHOLDS
        taken[hit, best[hit]] = True
        verdicts[hit, place] = RIGHT
    return verdicts


MATCHINGS = {"voc": _voc, "coco": _coco}


def _precision(right: NDArray[np.bool_], objects: int, rule: str, without: float = float("nan")) -> float:
    """Average precision of one class from its detections by falling score; `without` any object, that."""
    if not objects:
        return without
    if not right.any():
        return 0.0
    hits = right.cumsum()
    highest = np.maximum.accumulate((hits / np.arange(1, len(right) + 1))[::-1])[::-1]  # p at each recall_n
    if rule == "area":
        return float(highest[right].sum() / objects)
    steps = POINTS[rule] - 1
    needed = -(-np.arange(steps + 1) * objects // steps)  # right ones for recall k / steps, rounded up
    reached = np.searchsorted(hits, needed)
    return float(np.append(highest, 0)[reached].mean())
