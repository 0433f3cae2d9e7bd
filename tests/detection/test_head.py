# SPDX-License-Identifier: Apache-2.0
"""A head: boxes and scores by each code, what counts as found, and JSON; against formulas, torchvision and hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder, BoxLinearCoder
from torchvision.ops import batched_nms

from gossamer.detection import Detections, Head, Level
from gossamer.detection.codes import SCORINGS

LEVELS = (Level(3, 4, ((0.3, 0.4), (0.5, 0.2))), Level(1, 2, ((0.9, 0.8),)))
SSD = Head(LEVELS, "offsets", "softmax", 3)
FCOS = Head(LEVELS, "distances", "centred", 3)
FASTEST = Head((Level(3, 4, ((1.0, 1.0),)),), "cells", "objectness", 3)


def outputs(head: Head, images: int = 2, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 2, (images, head.count, head.width)).astype(np.float32)


def corners(anchors: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(
        np.concatenate([anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2], 1)
    )


def test_counts_and_widths():
    assert (SSD.count, SSD.width, FCOS.width, FASTEST.count, FASTEST.width) == (26, 8, 8, 12, 8)
    assert replace(FCOS, scoring="sigmoid").width == 7
    np.testing.assert_array_equal(SSD.anchors(), np.concatenate([level.anchors() for level in LEVELS]))


@pytest.mark.parametrize("variances", [(0.1, 0.1, 0.2, 0.2), (1.0, 1.0, 1.0, 1.0), (0.5, 0.25, 0.1, 0.2)])
def test_offsets_are_torchvisions(variances):
    head = replace(SSD, variances=variances)
    numbers = outputs(head)
    numbers[0, 0, 2:4] = 100  # an exponent that is cut
    coder = BoxCoder(tuple(1 / v for v in variances))
    boxes, _ = head.decode(numbers)
    for found, codes in zip(boxes, numbers, strict=True):
        expected = coder.decode_single(torch.from_numpy(codes[:, :4]), corners(head.anchors()))
        np.testing.assert_allclose(found, expected.clamp(0, 1).numpy(), atol=1e-5)


def test_the_largest_exponent_is_62_times_the_anchor():
    head = Head((Level(1, 1, ((1 / 1000, 1 / 500),)),), "offsets", "sigmoid", 1)
    boxes, _ = head.decode(np.array([[[0, 0, 1e6, 1e6, 0]]], np.float32))
    np.testing.assert_allclose(boxes[0, 0], [0.5 - 0.03125, 0.5 - 0.0625, 0.5 + 0.03125, 0.5 + 0.0625], rtol=1e-5)


def test_distances_are_torchvisions():
    numbers = outputs(FCOS)
    boxes, _ = FCOS.decode(numbers)
    expected = BoxLinearCoder().decode(torch.from_numpy(numbers[..., :4]), corners(FCOS.anchors()).expand(2, -1, -1))
    np.testing.assert_allclose(boxes, expected.clamp(0, 1).numpy(), atol=1e-6)


def test_cells_by_the_formula():
    numbers = outputs(FASTEST, 1)
    boxes, _ = FASTEST.decode(numbers)
    for place in range(12):
        row, column = divmod(place, 4)
        x, y, w, h = map(float, numbers[0, place, :4])
        centre = (column + math.tanh(x)) / 4, (row + math.tanh(y)) / 3
        half = [1 / (1 + math.exp(-size)) / 2 for size in (w, h)]
        expected = [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]]
        np.testing.assert_allclose(boxes[0, place], np.clip(expected, 0, 1), atol=1e-6)


def test_scores_by_the_formulas():
    values = torch.tensor([[0.5, -1.0, 2.0, 0.25]])
    numbers = np.zeros((1, 1, 8), np.float32)
    numbers[0, 0, 4:] = values
    level = (Level(1, 1, ((1.0, 1.0),)),)
    expected = {
        "softmax": values.softmax(-1)[:, 1:],
        "sigmoid": values.sigmoid(),
        "centred": (values[:, :3].sigmoid() * values[:, 3:].sigmoid()).sqrt(),
        "objectness": values[:, :1].sigmoid() ** 0.6 * values[:, 1:].softmax(-1) ** 0.4,
    }
    assert expected.keys() == SCORINGS.keys()
    for scoring, scores in expected.items():
        _, found = Head(level, "offsets", scoring, scores.shape[1]).decode(numbers)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[0], scores.numpy(), rtol=1e-5)


NUMBER = st.floats(0.01, 0.49)


@given(st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), min_size=26, max_size=26))
def test_encoding_inverts(sides):
    boxes = np.array(sides, np.float32)
    boxes[:, 2:] += 0.5
    for head in (SSD, FCOS):
        numbers = np.zeros((1, head.count, head.width), np.float32)
        numbers[0, :, :4] = head.encode(boxes, head.anchors())
        np.testing.assert_allclose(head.decode(numbers)[0][0], boxes, atol=1e-5)


def test_encoding_is_torchvisions_and_broadcasts():
    boxes = np.array([[[0.1, 0.2, 0.5, 0.9]], [[0.0, 0.0, 1.0, 0.3]]], np.float32)
    anchors = SSD.anchors()
    flat = torch.from_numpy(np.repeat(boxes, len(anchors), 1).reshape(-1, 4))
    reference = corners(np.tile(anchors, (2, 1)))
    for head, expected in (
        (SSD, BoxCoder((10.0, 10.0, 5.0, 5.0)).encode_single(flat, reference)),
        (FCOS, BoxLinearCoder().encode(reference, flat)),
    ):
        found = head.encode(boxes, anchors)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.reshape(-1, 4), expected.numpy(), atol=1e-4)
    with pytest.raises(ValueError, match="boxes are encoded for offsets and distances, got a head with cells"):
        FASTEST.encode(boxes, anchors)


def as_torchvision_finds(head: Head, boxes: np.ndarray, scores: np.ndarray) -> tuple[torch.Tensor, ...]:
    """The steps of torchvision's SSD, one class after the other."""
    parts = []
    for of in range(head.classes):
        score = torch.from_numpy(scores[:, of])
        inside = torch.from_numpy((boxes[:, 2:] > boxes[:, :2]).all(1))
        positions = torch.where((score > head.threshold) & inside)[0]
        best, order = score[positions].topk(min(head.candidates, len(positions)))
        parts.append((torch.from_numpy(boxes)[positions[order]], best, torch.full_like(order, of)))
    joined = tuple(torch.cat(part) for part in zip(*parts, strict=True))
    kept = batched_nms(*joined, head.overlap)[: head.most]
    return tuple(part[kept] for part in joined)


@pytest.mark.parametrize("candidates", [3, 400])
@pytest.mark.parametrize("most", [5, 100])
@pytest.mark.parametrize("head", [SSD, FCOS, replace(SSD, scoring="sigmoid", threshold=0.5)])
def test_detections_are_those_of_torchvisions_steps(head, candidates, most):
    head = replace(head, candidates=candidates, most=most)
    numbers = outputs(head, 4)
    found = head.detect(numbers)
    assert len(found) == 4
    for detections, boxes, scores in zip(found, *head.decode(numbers), strict=True):
        expected = as_torchvision_finds(head, boxes, scores)
        assert 0 < len(detections) <= most
        for got, wanted in zip((detections.boxes, detections.scores, detections.classes), expected, strict=True):
            np.testing.assert_array_equal(got, wanted.numpy())
        assert detections.classes.dtype == np.int64


def test_another_threshold_for_once():
    numbers = outputs(SSD)
    strict = SSD.detect(numbers, 0.9)
    assert [len(found) for found in strict] != [len(found) for found in SSD.detect(numbers)]
    assert all((found.scores > 0.9).all() for found in strict)
    assert [len(found) for found in SSD.detect(numbers, 0.9999999)] == [0, 0]
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\), a score, got 1.5"):
        SSD.detect(numbers, 1.5)


def test_with_objectness_an_anchor_has_its_best_class_only():
    numbers = np.full((1, 12, 8), -20, np.float32)
    numbers[0, 5, 4:] = [5, 1, 2, 1.5]
    (found,) = FASTEST.detect(numbers)
    assert found.classes.tolist() == [1]
    assert (FASTEST.decode(numbers)[1][0, 5] > 0.5).all(), "the other classes score well too"


@pytest.mark.parametrize("head", [SSD, FCOS, FASTEST, replace(FCOS, scoring="sigmoid")])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_are_never_detections(head, value):
    numbers = outputs(head, 1)
    numbers[..., 4:] += 5
    sound = head.decode(numbers)
    for column in range(head.width):
        broken = numbers.copy()
        broken[0, 3, column] = value
        boxes, scores = head.decode(broken)
        assert not scores[0, 3].any()
        assert not boxes[0, 3].any()
        for got, expected in zip((boxes, scores), sound, strict=True):
            np.testing.assert_array_equal(np.delete(got, 3, 1), np.delete(expected, 3, 1))
    assert [len(found) for found in head.detect(np.full_like(numbers, value), 0.0)] == [0]


@pytest.mark.parametrize("head", [SSD, FCOS, FASTEST])
def test_extreme_outputs_give_boxes_in_the_picture(head):
    for value in (3e38, -3e38, 1e300):
        boxes, scores = head.decode(np.full((1, head.count, head.width), value))
        assert boxes.min() >= 0
        assert boxes.max() <= 1
        assert np.isfinite(scores).all()
        head.detect(np.full((1, head.count, head.width), value))


def test_boxes_outside_the_picture_are_left_out():
    numbers = np.zeros((1, SSD.count, SSD.width), np.float32)
    numbers[0, :, 5] = 9
    numbers[0, :, 0] = 1000  # far to the right
    assert [len(found) for found in SSD.detect(numbers)] == [0]
    numbers[0, 4, 0] = 0
    assert [len(found) for found in replace(SSD, most=3).detect(numbers)] == [1]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"outputs must be \(N, 26, 8\) for this head, got \(1, 8, 26\)"):
        SSD.decode(np.zeros((1, 8, 26), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coding": "offset"}, "coding must be one of offsets, distances, cells, got 'offset'; did you mean"),
        ({"scoring": "logits"}, "scoring must be one of softmax, sigmoid, centred, objectness, got 'logits'"),
        ({"classes": 0}, "a head has 1 to 16,384 classes, got 0"),
        ({"levels": ()}, "a head has 1 to 1,048,576 anchors, got 0"),
        ({"levels": (Level(1024, 1024, ((1.0, 1.0),)),) * 2}, "a head has 1 to 1,048,576 anchors, got 2,097,152"),
        (
            {"levels": (Level(1024, 1024, ((1.0, 1.0),)),), "classes": 80},
            "an image has at most 67,108,864 outputs, got 1,048,576 anchors with 85 numbers",
        ),
        ({"coding": "cells"}, r"cells need one box a place, got \[2, 1\] in the levels"),
        ({"variances": (0.1, 0.1, 0.2)}, r"variances must be 4 numbers above 0, got \(0.1, 0.1, 0.2\)"),
        ({"variances": (0.1, 0.1, 0.2, math.nan)}, "variances must be 4 numbers above 0"),
        ({"threshold": 1.0}, r"threshold must be in \[0, 1\), a score, got 1.0"),
        ({"threshold": math.nan}, r"threshold must be in \[0, 1\), a score, got nan"),
        ({"overlap": 0.0}, r"overlap must be in \(0, 1\], an IoU, got 0.0"),
        ({"most": 0}, "most and candidates must be at least 1, got 0 and 400"),
        ({"candidates": 0}, "most and candidates must be at least 1, got 100 and 0"),
    ],
)
def test_what_is_no_head_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SSD, **change)


@pytest.mark.parametrize("head", [SSD, FCOS, FASTEST, replace(SSD, variances=(0.1, 0.2, 1 / 3, 1.0), threshold=0.0)])
def test_json_inverts(head):
    text = json.dumps(head.to_json())
    assert Head.from_json(json.loads(text)) == head


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": "3"}, "classes must be an integer of at most 1,000,000, got '3'"),
        ({"classes": 10**9}, "classes must be an integer of at most 1,000,000, got 1000000000"),
        ({"most": 2.5}, "most must be an integer .* got 2.5"),
        ({"coding": 1}, "coding must be a word, got 1"),
        ({"coding": "o" * 10**6}, "coding must be a word, got 'o"),
        ({"scoring": ["softmax"]}, "scoring must be a word, got "),
        ({"variances": 0.1}, "variances must be an array, got 0.1"),
        ({"variances": [0.1] * 10**5}, "variances must be 4 numbers above 0"),
        ({"threshold": math.inf}, "threshold must be a number of at most 1,000,000, got inf"),
        ({"overlap": True}, "overlap must be a number of at most 1,000,000, got True"),
        ({"levels": {}}, "levels must be an array, got {}"),
        ({"levels": [1]}, "a level must be an object with rows, columns, boxes, step, offset, got 1"),
        ({"extra": 1}, "a head must be an object with levels, coding, scoring, classes, variances, threshold, "),
    ],
)
def test_from_json_says_what_is_wrong_in_few_words(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        Head.from_json({**SSD.to_json(), **change})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("values", [None, [], "head", {}, {"levels": []}])
def test_from_json_wants_every_name(values):
    with pytest.raises(ValueError, match="a head must be an object with levels, coding, "):
        Head.from_json(values)


def test_detections_are_sorted_finite_and_of_one_length():
    boxes, classes = np.zeros((2, 4), np.float32), np.zeros(2, np.int64)
    assert len(Detections(boxes, np.array([0.5, 0.5], np.float32), classes)) == 2
    with pytest.raises(ValueError, match="detections must come by falling score, got a higher one after a lower"):
        Detections(boxes, np.array([0.5, 0.6], np.float32), classes)
    with pytest.raises(ValueError, match="boxes and scores of detections must be finite"):
        Detections(boxes, np.array([0.5, np.nan], np.float32), classes)
    with pytest.raises(ValueError, match="boxes and scores of detections must be finite"):
        Detections(boxes + np.inf, np.array([0.5, 0.1], np.float32), classes)
    with pytest.raises(ValueError, match=r"must be \(D, 4\), \(D,\) and \(D,\), got \(\(2, 4\), \(2,\), \(1,\)\)"):
        Detections(boxes, np.array([0.5, 0.1], np.float32), classes[:1])
