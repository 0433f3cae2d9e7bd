# SPDX-License-Identifier: Apache-2.0
"""Boxes of images: ragged rows and batches of them, hashes, what is refused, and how splits carry them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.data.boxes import PADDING, Boxes, check_boxes, inside
from gossamer.data.images import ArrayImages, Split


def random_rows(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 0.5, (count, 2)), rng.uniform(0.01, 0.5, (count, 2))
    more = [rng.integers(0, 5, (count, 1)), rng.integers(0, 2, (count, 1))]
    return np.concatenate([low, low + size, *more], 1).astype(np.float32)


ragged = st.lists(st.integers(0, 4), min_size=1, max_size=8).map(
    lambda counts: [random_rows(seed, count) for seed, count in enumerate(counts)]
)


@given(ragged, st.data())
def test_taken_rows_are_those_of_the_images_and_the_rest_is_padding(images, data):
    boxes = Boxes.of(images)
    assert len(boxes) == len(images)
    chosen = data.draw(st.lists(st.integers(-len(images), len(images) - 1), max_size=6))
    out = boxes.take(np.array(chosen, np.int64))
    assert out.dtype == np.float32
    assert out.shape == (len(chosen), max([1, *(len(images[i]) for i in chosen)]), 6)
    for found, index in zip(out, chosen, strict=True):
        count = len(images[index])
        np.testing.assert_array_equal(found[:count], images[index])
        assert (found[count:] == [0, 0, 0, 0, PADDING, 0]).all()


@given(ragged, st.data())
def test_chosen_boxes_are_the_boxes_of_the_chosen(images, data):
    chosen = data.draw(st.lists(st.integers(0, len(images) - 1), max_size=6))
    ours, again = Boxes.of(images).choose(np.array(chosen, np.int64)), Boxes.of([images[i] for i in chosen])
    np.testing.assert_array_equal(ours.rows, again.rows)
    np.testing.assert_array_equal(ours.starts, again.starts)
    assert ours.hashes() == [Boxes.of(images).hashes()[i] for i in chosen]


@given(st.permutations(range(5)))
def test_a_hash_does_not_know_the_order_of_objects(order):
    rows = random_rows(7, 5)
    assert Boxes.of([rows]).hashes() == Boxes.of([rows[list(order)]]).hashes()


@pytest.mark.parametrize("column", range(6))
def test_a_hash_sees_every_column(column):
    rows = np.array([[0.25, 0.25, 0.75, 0.75, 1, 0], [0.25, 0.25, 0.75, 0.75, 1, 0]], np.float32)
    other = rows.copy()
    other[1, column] = 1 - other[1, column] if column == 5 else other[1, column] + (2 if column == 4 else 1e-6)
    assert Boxes.of([rows]).hashes() != Boxes.of([other]).hashes()
    assert Boxes.of([rows]).hashes() != Boxes.of([rows[:1]]).hashes()


def test_minus_zero_is_zero():
    rows = np.array([[0.0, 0.0, 1, 1, 0, 0]], np.float32)
    assert Boxes.of([rows]).hashes() == Boxes.of([-rows * -1 * [[-1, 1, 1, 1, 1, 1]]]).hashes()


GOOD = [0.1, 0.2, 0.3, 0.4, 2, 1]


@pytest.mark.parametrize(
    "change",
    [
        {0: -0.01},
        {2: 1.01},
        {0: 0.3},
        {1: 0.5},
        {0: np.nan},
        {3: np.inf},
        {4: -1},
        {4: 1.5},
        {4: np.inf},
        {4: np.nan},
        {5: 0.5},
        {5: 2},
        {5: np.nan},
    ],
)
def test_rows_that_are_no_boxes_are_named(change):
    row = np.array(GOOD, np.float32)
    for column, value in change.items():
        row[column] = value
    none = np.zeros((0, 6), np.float32)
    with pytest.raises(
        ValueError, match=r"boxes must be x1, y1, x2, y2, class, difficult with .*, got \[.*\] in image 2"
    ):
        Boxes.of([np.array([GOOD], np.float32), none, row[None], none])


@pytest.mark.parametrize(
    ("rows", "starts", "message"),
    [
        (np.zeros((1, 5), np.float32), [0, 1], r"rows of boxes must be float32 \(M, 6\), got float32 \(1, 5\)"),
        (np.array([GOOD]), [0, 1], r"rows of boxes must be float32 \(M, 6\), got float64"),
        (np.array([GOOD], np.float32), [0, 2], "starts of boxes must rise from 0 to the 1 rows, got 0 to 2"),
        (np.array([GOOD], np.float32), [1, 1], "starts of boxes must rise from 0 to the 1 rows, got 1 to 1"),
        (np.array([GOOD], np.float32), [0, 1, 0, 1], "starts of boxes must rise from 0"),
        (np.array([GOOD], np.float32), [], r"starts of boxes must be int64 \(images \+ 1,\), got int64 \(0,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(rows, starts, message):
    with pytest.raises(ValueError, match=message):
        Boxes(rows, np.array(starts, np.int64))
    with pytest.raises(ValueError, match=r"expected the boxes of an image as \(n, 6\), got \(6,\) for 1"):
        Boxes.of([np.zeros((0, 6), np.float32), np.zeros(6, np.float32)])


@given(st.integers(0, 2**32 - 1))
def test_what_is_inside_is_a_box_and_its_intersection_with_the_picture(seed):
    rng = np.random.default_rng(seed)
    corners = rng.choice([-1e300, -0.5, 0, 1e-50, 0.25, 0.5, 1, 1.5, 1e300], (6, 4))
    rows, kept = inside(np.concatenate([corners, np.ones((6, 2))], 1))
    assert len(rows) == kept.sum()
    Boxes.of([rows])
    expected = [max(0, min(c[2], 1) - max(c[0], 0)) * max(0, min(c[3], 1) - max(c[1], 0)) for c in corners]
    np.testing.assert_allclose((rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1]), np.array(expected)[kept])
    assert np.array(expected)[~kept].max(initial=0) < 1e-45, "nothing that float32 knows"


def split(count=3):
    pixels = np.arange(count * 4 * 4 * 3, dtype=np.uint8).reshape(count, 4, 4, 3)
    return Split("all", ArrayImages(pixels), boxes=Boxes.of([random_rows(n, n) for n in range(count)]))


def test_classes_that_there_are_not_are_named():
    one = split(3)
    check_boxes(one, 5, "toys")
    one.boxes.rows[2, 4] = 7
    with pytest.raises(ValueError, match=r"boxes must be of 0..4 for 5 classes, got 7 in example 2 of 'all' in toys"):
        check_boxes(one, 5, "toys")
    with pytest.raises(ValueError, match="split 'all' of toys has no boxes; only calibration can do without"):
        check_boxes(Split("all", one.images), 5, "toys")
