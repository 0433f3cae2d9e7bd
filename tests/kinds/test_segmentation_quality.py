# SPDX-License-Identifier: Apache-2.0
"""Counts of pixels and what is made of them, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.kinds.segmentation_quality import (
    NO_CLASS,
    answers,
    by_area,
    class_dice,
    class_iou,
    count,
    dice,
    iou,
    kept,
    pixel_accuracy,
    summed,
)

TRUTH = np.array([[[0, 0, 1, 1]], [[0, 0, 0, 0]], [[0, 0, 0, 0]], [[1, 1, 1, 1]]], np.uint8)
ANSWER = np.array([[[0, 1, 1, 0]], [[0, 0, 0, 0]], [[0, 0, 0, 1]], [[0, 0, 0, 0]]], np.uint8)


def test_two_classes_by_hand():
    counts = count(ANSWER, TRUTH, 2)
    assert counts.tolist() == [[[1, 1], [1, 1]], [[4, 0], [0, 0]], [[3, 1], [0, 0]], [[0, 0], [4, 0]]]
    assert pixel_accuracy(counts).tolist() == [1 / 2, 1, 3 / 4, 0]
    assert iou(counts).tolist() == [1 / 3, 1, 0, 0], "of the foreground; absent in truth and answer is 1"
    assert dice(counts).tolist() == [1 / 2, 1, 0, 0]
    np.testing.assert_allclose(class_iou(counts), [[1 / 3, 1 / 3], [1, 1], [3 / 4, 0], [0, 0]])
    np.testing.assert_allclose(class_dice(counts), [[1 / 2, 1 / 2], [1, 1], [6 / 7, 0], [0, 0]])
    assert iou(counts).dtype == np.float64


def test_a_split_sums_its_pixels():
    whole = count(ANSWER, TRUTH, 2).sum(0)
    assert whole.tolist() == [[8, 2], [5, 1]]
    assert (float(pixel_accuracy(whole)), float(iou(whole)), float(dice(whole))) == (9 / 16, 1 / 8, 2 / 9)


def test_counts_without_zeros_sum_to_the_same():
    counts = count(ANSWER, TRUTH, 2)
    few = list(kept(counts))
    assert [len(image.places) for image in few] == [4, 1, 2, 1]
    assert summed(few).tolist() == counts.sum(0).tolist()
    rng = np.random.default_rng(0)
    truth, answered = (rng.integers(0, 40, (9, 6, 7)).astype(np.uint8) for _ in range(2))
    many = count(answered, truth, 40)
    assert (summed(list(kept(many))) == many.sum(0)).all()


def test_areas_sum_theirs():
    areas, counts = by_area(count(ANSWER, TRUTH, 2), np.array([7, 3, 3, 7]))
    assert areas.tolist() == [3, 7]
    assert counts.tolist() == [[[7, 1], [0, 0]], [[1, 1], [5, 1]]]
    assert iou(counts).tolist() == [0, 1 / 7]
    with pytest.raises(ValueError, match="every image needs an area, got 2 images and 3 areas"):
        by_area(counts, np.arange(3))


def test_three_classes_by_hand():
    counts = count(np.array([[[0, 0, 2, 1]]], np.uint8), np.array([[[0, 1, 2, 1]]], np.uint8), 4)
    np.testing.assert_allclose(class_iou(counts), [[1 / 2, 1 / 2, 1, 1]])
    np.testing.assert_allclose(iou(counts), [2 / 3], err_msg="the mean over the three classes that are there")
    np.testing.assert_allclose(dice(counts), [(2 / 3 + 2 / 3 + 1) / 3])


def test_chunks_give_what_the_whole_gives():
    rng = np.random.default_rng(0)
    truth, answered = (rng.integers(0, 5, (9, 6, 7)).astype(np.uint8) for _ in range(2))
    parts = [count(answered[start : start + 4], truth[start : start + 4], 5) for start in (0, 4, 8)]
    whole = count(answered, truth, 5)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for n, t, a in ((0, 1, 2), (8, 4, 4), (3, 0, 3)):
        assert whole[n, t, a] == ((truth[n] == t) & (answered[n] == a)).sum()


def test_answers_of_one_logit_and_of_several():
    logit = np.array([[[[-1.0, 0.0, 2.0, np.nan]]]], np.float32)
    assert answers(logit).tolist() == [[[0, 0, 1, NO_CLASS]]]
    several = np.zeros((1, 3, 1, 3), np.float32)
    several[0, 2, 0, 0] = several[0, 1, 0, 1] = 1
    several[0, 0, 0, 2] = np.nan
    assert answers(several).tolist() == [[[2, 1, NO_CLASS]]]
    assert answers(several).dtype == np.uint8


@pytest.mark.parametrize("classes", [2, 3])
def test_an_output_that_is_not_a_number_is_never_right(classes):
    truth = np.arange(classes, dtype=np.uint8)[None, None]
    counts = count(np.full_like(truth, NO_CLASS), truth, classes)
    assert counts.sum() == classes
    assert pixel_accuracy(counts).tolist() == [0]
    assert iou(counts).tolist() == [0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"answers and truth must both be \(N, H, W\), got \(4, 1, 4\) and \(4, 4\)"):
        count(ANSWER, TRUTH[:, 0], 2)
    with pytest.raises(ValueError, match="truth must be below 2, the number of classes, got 3"):
        count(ANSWER, TRUTH * 3, 2)
    with pytest.raises(ValueError, match="answers must be below 2, the number of classes, or 255, got 3"):
        count(ANSWER * 3, TRUTH, 2)
    with pytest.raises(ValueError, match=r"outputs must be \(N, classes, H, W\), .*, got \(2, 3\)"):
        answers(np.zeros((2, 3), np.float32))
