# SPDX-License-Identifier: Apache-2.0
"""Overlaps and suppression, against torchvision and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms, box_iou

from gossamer.detection import overlaps, suppress

SIXTEENTHS = st.integers(0, 16)
BOX = st.tuples(SIXTEENTHS, SIXTEENTHS, SIXTEENTHS, SIXTEENTHS).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]) + 1, max(c[1], c[3]) + 1)
)
CANDIDATE = st.tuples(BOX, st.integers(1, 8), st.integers(0, 2))
#: Powers of two: float32 there and float64 here agree on which side of them an IoU of sixteenths lies.
OVERLAP = st.sampled_from([0.25, 0.5, 0.75])


def arrays(candidates: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    boxes = np.array([box for box, _, _ in candidates], np.float32).reshape(-1, 4) / 16
    scores = np.array([score for _, score, _ in candidates], np.float32) / 8
    return boxes, scores, np.array([of for _, _, of in candidates], np.int64)


@given(st.lists(CANDIDATE, max_size=40), OVERLAP)
def test_the_same_boxes_stay_as_in_torchvision_ties_and_all(candidates, overlap):
    boxes, scores, classes = arrays(candidates)
    expected = batched_nms(*map(torch.from_numpy, (boxes, scores, classes)), overlap)
    kept = suppress(boxes, scores, classes, overlap)
    assert kept.dtype == np.int64
    assert kept.tolist() == expected.tolist()


@given(st.lists(CANDIDATE, max_size=40), OVERLAP, st.integers(0, 10))
def test_stopping_early_keeps_the_first_of_them(candidates, overlap, most):
    whole = suppress(*arrays(candidates), overlap)
    assert suppress(*arrays(candidates), overlap, most).tolist() == whole[:most].tolist()


@given(st.lists(BOX, max_size=8), st.lists(BOX, max_size=8))
def test_overlaps_are_torchvisions(a, b):
    left, right = (np.array(boxes, np.float32).reshape(-1, 4) for boxes in (a, b))
    expected = box_iou(torch.from_numpy(left), torch.from_numpy(right))
    np.testing.assert_allclose(overlaps(left, right), expected.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(overlaps(left, right).T, overlaps(right, left))


def test_three_thousand_candidates_at_once():
    rng = np.random.default_rng(0)
    corners = rng.random((3000, 2))
    boxes = np.concatenate([corners, corners + rng.random((3000, 2)) / 4 + 0.01], 1).astype(np.float32)
    scores, classes = rng.permutation(3000).astype(np.float32), rng.integers(0, 3, 3000)
    expected = batched_nms(*map(torch.from_numpy, (boxes, scores, classes)), 0.45)
    assert suppress(boxes, scores, classes, 0.45).tolist() == expected.tolist()


def test_only_more_than_the_overlap_is_suppressed_and_only_of_one_class():
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1], [0, 0, 2, 2]], np.float32)  # IoU with the first: 1, 1/2, 1
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    assert suppress(boxes, scores, np.array([0, 0, 1]), 0.5).tolist() == [0, 1, 2]
    assert suppress(boxes, scores, np.array([0, 0, 0]), 0.5).tolist() == [0, 1]
    assert suppress(boxes, scores, np.array([0, 0, 1]), 0.49).tolist() == [0, 2]


def test_what_a_suppressed_box_covers_is_not_suppressed_by_it():
    boxes = np.array([[0, 0, 4, 1], [1, 0, 5, 1], [2, 0, 6, 1]], np.float32)  # neighbours 3/5, first and last 2/6
    assert suppress(boxes, np.array([3, 2, 1], np.float32), np.zeros(3, np.int64), 0.5).tolist() == [0, 2]


def test_boxes_without_an_area_overlap_nothing():
    odd = np.array([[0, 0, 0, 1], [1, 1, 0, 0], [np.nan, 0, 1, 1], [0, 0, 1, 1]], np.float32)
    np.testing.assert_array_equal(overlaps(odd, odd), np.diag([0.0, 0, 0, 1]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"boxes must be \(N, 4\), corners x1, y1, x2, y2, got \(2, 5\)"):
        overlaps(np.zeros((2, 5)), np.zeros((1, 4)))
    with pytest.raises(ValueError, match=r"must be \(N, 4\), \(N,\) and \(N,\), got \(2, 4\), \(3,\) and \(2,\)"):
        suppress(np.zeros((2, 4)), np.zeros(3), np.zeros(2, np.int64), 0.5)
