# SPDX-License-Identifier: Apache-2.0
"""Quality of detection: against curves worked out by hand, slow and plain oracles, and COCO's own tools."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.detection import Detections, overlaps
from gossamer.kinds.detection_quality import (
    IGNORED,
    MATCHINGS,
    MEASURES,
    RIGHT,
    THRESHOLDS,
    WRONG,
    average_precision,
    coco_figures,
    image_quality,
    mean_average_precision,
    outcome,
)

A, B, C = (0.0, 0.0, 0.25, 0.25), (0.5, 0.0, 0.75, 0.5), (0.0, 0.5, 0.5, 1.0)
NOWHERE = (0.875, 0.875, 1.0, 1.0)
TOP_OF_A = (0.0, 0.0, 0.25, 0.125)  # IoU with A is 1/2


def found(*rows: tuple) -> Detections:
    """Rows (box, score, class), sorted here."""
    rows = sorted(rows, key=lambda row: -row[1])
    return Detections(
        np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in rows], np.float32),
        np.array([of for _, _, of in rows], np.int64),
    )


def truth(*rows: tuple, padding: int = 1) -> np.ndarray:
    """Rows (box, class) or (box, class, difficult), and rows of padding."""
    values = [(*box, of, *(rest or (0,))) for box, of, *rest in rows] + [(0, 0, 0, 0, -1, 0)] * padding
    return np.array(values, np.float32).reshape(-1, 6)


def test_a_curve_by_hand():
    """Three objects; right, wrong, right, wrong, wrong, right: precision 1, 1/2, 2/3, 1/2, 2/5, 1/2.

    The highest from each on: 1, 2/3, 2/3, 1/2, 1/2, 1/2. At recall 0..1/3 it is 1, to 2/3 it is 2/3, to 1 it is 1/2.
    """
    images = [
        outcome(found((A, 0.9, 0), (NOWHERE, 0.8, 0), (B, 0.7, 0)), truth((A, 0), (B, 0))),
        outcome(found((NOWHERE, 0.6, 0), (NOWHERE, 0.5, 0), (C, 0.4, 0)), truth((C, 0))),
    ]
    assert [image.verdicts[0].tolist() for image in images] == [[RIGHT, WRONG, RIGHT], [WRONG, WRONG, RIGHT]]
    area = (1 + 2 / 3 + 1 / 2) / 3
    np.testing.assert_allclose(average_precision(images, 1), [area])
    points = (4 * 1 + 3 * 2 / 3 + 4 * 1 / 2) / 11  # 0 to 0.3; 0.4, 0.5, 0.6; 0.7 to 1
    np.testing.assert_allclose(average_precision(images, 1, "11-point"), [points])
    points = (34 * 1 + 33 * 2 / 3 + 34 * 1 / 2) / 101  # 0 to 0.33; 0.34 to 0.66; 0.67 to 1
    np.testing.assert_allclose(average_precision(images, 1, "101-point"), [points])


def test_recall_of_a_tenth_counts_at_a_tenth():
    """3 of 10 found: the points 0, 0.1, 0.2, 0.3 have precision 1, whatever 3 * 0.1 is in floating point."""
    boxes = [(i / 10, 0.0, (i + 1) / 10, 0.1) for i in range(10)]
    image = outcome(found(*((box, 0.9, 0) for box in boxes[:3])), truth(*((box, 0) for box in boxes)))
    np.testing.assert_allclose(average_precision([image], 1, "11-point"), [4 / 11])
    np.testing.assert_allclose(average_precision([image], 1, "101-point"), [31 / 101])
    np.testing.assert_allclose(average_precision([image], 1), [3 / 10])


def test_classes_without_objects_are_not_a_number_and_leave_the_mean():
    images = [outcome(found((A, 0.9, 0), (B, 0.8, 2)), truth((A, 0), (C, 1)))]
    precisions = average_precision(images, 4)
    np.testing.assert_array_equal(precisions, [1, 0, np.nan, np.nan])
    assert mean_average_precision(precisions) == 0.5
    assert np.isnan(mean_average_precision(precisions[2:]))
    assert np.isnan(average_precision([], 2)).all()


@pytest.mark.parametrize("matching", MATCHINGS)
def test_a_second_box_of_an_object_is_wrong(matching):
    image = outcome(found((A, 0.9, 0), (A, 0.8, 0), (A, 0.7, 1)), truth((A, 0)), matching)
    assert image.verdicts.tolist() == [[RIGHT, WRONG, WRONG]] * 10


@pytest.mark.parametrize("matching", MATCHINGS)
def test_difficult_objects_are_neither_missed_nor_wrong(matching):
    image = outcome(found((A, 0.9, 0), (A, 0.8, 0), (B, 0.7, 0)), truth((A, 0, 1), (B, 0)), matching)
    assert image.verdicts.tolist() == [[IGNORED, IGNORED, RIGHT]] * 10
    assert image.objects.tolist() == [0]
    assert average_precision([image], 1).tolist() == [1]
    only = outcome(found((A, 0.9, 0)), truth((A, 0, 1)), matching)
    assert np.isnan(average_precision([only], 1)).all()


@pytest.mark.parametrize("matching", MATCHINGS)
def test_an_iou_of_just_the_threshold_is_right(matching):
    image = outcome(found((TOP_OF_A, 0.9, 0)), truth((A, 0)), matching)
    assert image.verdicts[:, 0].tolist() == [RIGHT] + [WRONG] * 9
    assert average_precision([image], 1).tolist() == [1]
    assert average_precision([image], 1, threshold=0.55).tolist() == [0]


def test_where_the_two_rules_differ():
    """Two objects and two detections, both nearest to the first object: VOC calls the second a double."""
    first, second = (0.0, 0.0, 0.5, 0.5), (0.125, 0.0, 0.625, 0.5)  # IoU 3/5
    rows = found((first, 0.9, 0), ((0.0625, 0.0, 0.53125, 0.5), 0.8, 0))  # of the second detection: 0.82, 0.76
    assert outcome(rows, truth((first, 0), (second, 0)), "voc").verdicts[0].tolist() == [RIGHT, WRONG]
    assert outcome(rows, truth((first, 0), (second, 0)), "coco").verdicts[0].tolist() == [RIGHT, RIGHT]
    part = found(((0.0, 0.0, 0.125, 0.125), 0.9, 0))  # a quarter of A
    assert outcome(part, truth((A, 0, 1)), "voc").verdicts[0].tolist() == [WRONG]
    assert outcome(part, truth((A, 0, 1)), "coco").verdicts[0].tolist() == [IGNORED], "a crowd covers it"


def test_of_two_objects_as_near_voc_takes_the_first_and_coco_the_last():
    """The first detection is between two objects, IoU 3/5 with each; the second is at the last of them."""
    first, last = (0.0, 0.0, 0.5, 0.5), (0.25, 0.0, 0.75, 0.5)
    rows, objects = found(((0.125, 0.0, 0.625, 0.5), 0.9, 0), (last, 0.8, 0)), truth((first, 0), (last, 0))
    assert outcome(rows, objects, "voc").verdicts[0].tolist() == [RIGHT, RIGHT]
    image = outcome(rows, objects, "coco")
    assert image.verdicts[0].tolist() == [RIGHT, WRONG]
    assert average_precision([image], 1, "101-point") == pytest.approx(coco_figures([rows], [objects])["AP50"])


# --- oracles -----------------------------------------------------------------------------------------------------


def plain_voc(detections: Detections, objects: np.ndarray, threshold: float) -> list[int]:
    """The steps of VOC's development kit, one after the other."""
    taken, verdicts = set(), []
    for box, of in zip(detections.boxes, detections.classes, strict=True):
        best, highest = -1, -1.0
        for place, row in enumerate(objects):
            iou = overlaps(box[None], row[None, :4])[0, 0]
            if row[4] == of and iou > highest:
                best, highest = place, iou
        if highest < threshold:
            verdicts.append(WRONG)
        elif objects[best, 5]:
            verdicts.append(IGNORED)
        else:
            verdicts.append(WRONG if best in taken else RIGHT)
            taken.add(best)
    return verdicts


def plain_coco(detections: Detections, objects: np.ndarray, threshold: float) -> list[int]:
    """The steps of COCO's tools: objects that are not crowds first, then crowds, which may be taken again."""
    objects = objects[np.argsort(objects[:, 5], kind="stable")]
    taken, verdicts = set(), []
    for box, of in zip(detections.boxes, detections.classes, strict=True):
        best, highest = -1, threshold
        for place, row in enumerate(objects):
            crowd = bool(row[5])
            if row[4] != of or (place in taken and not crowd):
                continue
            if best >= 0 and not objects[best, 5] and crowd:
                break
            iou = overlaps(box[None], row[None, :4])[0, 0]
            if crowd:
                low, high = np.maximum(box[:2], row[:2]), np.minimum(box[2:], row[2:4])
                iou = np.prod(np.maximum(high - low, 0)) / np.prod(box[2:] - box[:2])
            if iou >= highest:
                best, highest = place, iou
        taken.add(best)
        verdicts.append(WRONG if best < 0 else IGNORED if objects[best, 5] else RIGHT)
    return verdicts


EIGHTHS = st.integers(0, 7)
BOX = st.tuples(EIGHTHS, EIGHTHS, EIGHTHS, EIGHTHS).map(
    lambda c: tuple(v / 8 for v in (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]) + 1, max(c[1], c[3]) + 1))
)
FOUND = st.lists(st.tuples(BOX, st.integers(1, 8).map(lambda n: n / 8), st.integers(0, 2)), max_size=12)
TRUTH = st.lists(st.tuples(BOX, st.integers(0, 2), st.integers(0, 1)), max_size=8)


@given(FOUND, TRUTH, st.integers(0, 2))
def test_verdicts_are_those_of_the_plain_steps(rows, objects, padding):
    detections, padded, bare = found(*rows), truth(*objects, padding=padding), truth(*objects, padding=0)
    for matching, plain in (("voc", plain_voc), ("coco", plain_coco)):
        got = outcome(detections, padded, matching)
        assert got.verdicts.dtype == np.int8
        for row, threshold in zip(got.verdicts, THRESHOLDS, strict=True):
            assert row.tolist() == plain(detections, bare, threshold)


def plain_precision(verdicts: list[int], objects: int, recalls: list[tuple[int, int]] | None) -> float:
    """Average precision from its definition; `recalls` as fractions, None for the area."""
    verdicts = [verdict for verdict in verdicts if verdict != IGNORED]
    curve = [(verdicts[:n].count(RIGHT), verdicts[:n].count(RIGHT) / n) for n in range(1, len(verdicts) + 1)]
    wanted = recalls or [(k, objects) for k in range(1, objects + 1)]
    highest = [max((p for hits, p in curve if hits * below >= above * objects), default=0.0) for above, below in wanted]
    return sum(highest) / len(wanted)


@given(st.lists(st.tuples(FOUND, TRUTH), min_size=1, max_size=4))
def test_average_precision_is_its_definition(images):
    outcomes = [outcome(found(*rows), truth(*objects)) for rows, objects in images]
    for rule, steps in (("area", None), ("11-point", 10), ("101-point", 100)):
        for threshold in (0.5, 0.75):
            at = list(THRESHOLDS).index(threshold)
            got = average_precision(outcomes, 3, rule, threshold)
            for of in range(3):
                ranked = [
                    (-float(score), verdict)
                    for each in outcomes
                    for score, cls, verdict in zip(each.scores, each.classes, each.verdicts[at], strict=True)
                    if cls == of
                ]
                ranked.sort(key=lambda pair: pair[0])
                objects = sum(int((each.objects == of).sum()) for each in outcomes)
                if objects == 0:
                    assert np.isnan(got[of])
                    continue
                recalls = None if steps is None else [(k, steps) for k in range(steps + 1)]
                expected = plain_precision([int(verdict) for _, verdict in ranked], objects, recalls)
                np.testing.assert_allclose(got[of], expected, atol=1e-12)


# --- one image by itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", MEASURES)
def test_an_image_without_objects_is_right_if_nothing_is_shown(measure):
    assert image_quality(found(), truth(), measure) == 1
    assert image_quality(found((A, 0.49, 0), (B, 0.05, 3)), truth(), measure) == 1
    assert image_quality(found((A, 0.5, 0)), truth(), measure) == 0
    assert image_quality(found((A, 0.9, 0)), truth((A, 0, 1)), measure) == 1, "difficult: neither there nor wrong"
    assert image_quality(found((B, 0.9, 0)), truth((A, 0, 1)), measure) == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_an_image_with_all_found_is_1_and_with_nothing_found_0(measure):
    assert image_quality(found((A, 0.9, 0), (B, 0.8, 1)), truth((A, 0), (B, 1)), measure) == 1
    assert image_quality(found(), truth((A, 0)), measure) == 0
    assert image_quality(found((NOWHERE, 0.9, 0)), truth((A, 0)), measure) == 0
    assert image_quality(found((A, 0.9, 1)), truth((A, 0)), measure) == 0


def test_average_precision_of_an_image_by_hand():
    """Class 0: wrong, right, of 2 objects: 1/4. Class 1: found, if faintly: 1. Class 2 is shown: 0. Class 3 is not."""
    rows = found((NOWHERE, 0.9, 0), (A, 0.8, 0), (C, 0.1, 1), (NOWHERE, 0.6, 2), (NOWHERE, 0.4, 3))
    np.testing.assert_allclose(image_quality(rows, truth((A, 0), (B, 0), (C, 1)), "ap"), (1 / 4 + 1 + 0) / 3)


def test_f1_of_an_image_by_hand():
    """Shown: one right of class 0, one wrong of class 2; one of difficult B is ignored. Missed: C, too faint."""
    rows = found((A, 0.8, 0), (B, 0.7, 1), (NOWHERE, 0.6, 2), (C, 0.49, 1))
    np.testing.assert_allclose(image_quality(rows, truth((A, 0), (B, 1, 1), (C, 1)), "f1"), 2 / (2 + 1 + 1))


@given(FOUND, TRUTH, st.sampled_from(sorted(MEASURES)))
def test_quality_is_from_0_to_1_and_faint_detections_of_other_classes_change_nothing(rows, objects, measure):
    image = truth(*objects)
    quality = image_quality(found(*rows), image, measure)
    assert 0 <= quality <= 1
    assert image_quality(found(*rows, (A, 0.0625, 7)), image, measure) == quality


def test_an_image_and_a_split_of_it_agree():
    rows = found((NOWHERE, 0.9, 0), (A, 0.8, 0), (C, 0.7, 1))
    image = truth((A, 0), (B, 0), (C, 1))
    split = mean_average_precision(average_precision([outcome(rows, image)], 2))
    assert image_quality(rows, image, "ap") == split


def test_what_there_is_not_is_refused():
    with pytest.raises(ValueError, match="measure must be one of ap, f1, got 'map'; did you mean"):
        image_quality(found(), truth(), "map")
    with pytest.raises(ValueError, match="matching must be one of voc, coco, got 'lvis'"):
        outcome(found(), truth(), "lvis")
    with pytest.raises(ValueError, match=r"the truth of an image must be \(L, 6\), .* got \(2, 5\)"):
        outcome(found(), np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="rule must be one of area, 11-point, 101-point, got '12-point'"):
        average_precision([], 1, "12-point")
    with pytest.raises(ValueError, match=r"threshold must be one of 0.5, 0.55, .*, 0.95, got 0.52"):
        average_precision([], 1, threshold=0.52)


# --- COCO's own tools --------------------------------------------------------------------------------------------


def scenes(seed: int) -> tuple[list[Detections], list[np.ndarray]]:
    """Twelve images with, in all, 7, 11 and 3 objects of three classes and some crowds: no recall is a hundredth."""
    rng = np.random.default_rng(seed)

    def box() -> tuple:
        corner, size = rng.random(2) * 0.6, 0.1 + rng.random(2) * 0.3
        return (*corner, *(corner + size))

    objects: list[list[tuple]] = [[] for _ in range(12)]
    for of, difficult in [(0, 0)] * 7 + [(1, 0)] * 11 + [(2, 0)] * 3 + [(0, 1), (1, 1), (1, 1)]:
        objects[rng.integers(0, 11)].append((box(), of, difficult))  # the last image has none
    images = []
    for rows in objects:
        near = [(np.clip(b + rng.normal(0, 0.015, 4), 0, 1), rng.random(), of) for b, of, _ in rows * 2]
        images.append(found(*near, *((box(), rng.random(), int(rng.integers(0, 4))) for _ in range(4))))
    return images, [truth(*rows) for rows in objects]


@pytest.mark.parametrize("seed", range(6))
def test_figures_of_cocos_own_tools_are_ours(seed):
    images, truths = scenes(seed)
    figures = coco_figures(images, truths)
    outcomes = [outcome(*pair, "coco") for pair in zip(images, truths, strict=True)]
    ours = {t: mean_average_precision(average_precision(outcomes, 4, "101-point", t)) for t in THRESHOLDS}
    assert 0.05 < figures["AP"] < figures["AP50"] < 1
    np.testing.assert_allclose(figures["AP50"], ours[0.5], atol=1e-6)
    np.testing.assert_allclose(figures["AP75"], ours[0.75], atol=1e-6)
    np.testing.assert_allclose(figures["AP"], np.mean(list(ours.values())), atol=1e-6)


def test_cocos_tools_with_many_detections_and_with_nothing_at_all():
    many = found(*((A, 0.5 + i / 1000, 0) for i in range(150)))
    assert coco_figures([many], [truth((A, 0))]) == {"AP": 1, "AP50": 1, "AP75": 1}
    assert all(np.isnan(value) for value in coco_figures([found()], [truth()]).values())


@pytest.mark.parametrize("missing", ["torchmetrics.detection", "pycocotools"])
def test_without_cocos_tools_it_says_what_to_install(missing, monkeypatch):
    if missing == "pycocotools":
        for module in ("mean_ap", "helpers"):
            monkeypatch.setattr(f"torchmetrics.detection.{module}._PYCOCOTOOLS_AVAILABLE", False)
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ValueError, match=r"need torchmetrics and pycocotools; pip install -e '\.\[detection\]' in"):
        coco_figures([found()], [truth()])
