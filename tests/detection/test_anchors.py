# SPDX-License-Identifier: Apache-2.0
"""Anchors of a level: by hand, and those of torchvision's SSD and RetinaNet."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

from gossamer.detection import Level

SMALL = Level(1, 2, ((0.5, 1.0), (0.25, 0.75)))


def test_places_by_row_and_column_and_then_boxes():
    found = Level(2, 4, ((0.5, 1.0), (0.25, 0.75))).anchors()
    assert found.dtype == np.float32
    assert found.shape == (16, 4)
    first, second = [0.5, 1.0], [0.25, 0.75]
    assert found[:3].tolist() == [[1 / 8, 1 / 4, *first], [1 / 8, 1 / 4, *second], [3 / 8, 1 / 4, *first]]
    assert found[8:9].tolist() == [[1 / 8, 3 / 4, *first]]


def test_step_and_offset_move_the_centres():
    found = Level(2, 2, ((1.0, 1.0),), step=(0.25, 0.5), offset=0.0).anchors()
    assert found[:, :2].tolist() == [[0, 0], [0.25, 0], [0, 0.5], [0.25, 0.5]]


def test_cells_have_corners_whatever_the_offset():
    found = Level(2, 4, ((1.0, 1.0),), offset=0.25).cells()
    assert found[[0, 1, 4]].tolist() == [[0, 0, 0.25, 0.5], [0.25, 0, 0.25, 0.5], [0, 0.5, 0.25, 0.5]]


def images(height: int, width: int) -> ImageList:
    return ImageList(torch.zeros(1, 3, height, width), [(height, width)])


@pytest.mark.parametrize("steps", [None, [8, 16]])
def test_anchors_of_torchvisions_ssd(steps):
    generator = DefaultBoxGenerator([[2], [2, 3]], scales=[0.07, 0.15, 0.33], steps=steps)
    grids, size = [(3, 5), (2, 3)], (24, 48)
    corners = generator(images(*size), [torch.zeros(1, 1, *grid) for grid in grids])[0].numpy()
    levels = [
        Level(
            *grid,
            tuple((float(w), float(h)) for w, h in boxes.double()),
            None if steps is None else (steps[at] / size[1], steps[at] / size[0]),
        )
        for at, (grid, boxes) in enumerate(zip(grids, generator._wh_pairs, strict=True))
    ]
    found = np.concatenate([level.anchors() for level in levels])
    pixels = np.array([size[1], size[0]])
    expected = [(found[:, :2] - found[:, 2:] / 2) * pixels, (found[:, :2] + found[:, 2:] / 2) * pixels]
    np.testing.assert_allclose(corners, np.concatenate(expected, 1), atol=2e-5)


def test_anchors_of_torchvisions_retinanet():
    generator = AnchorGenerator(((32, 40),), ((0.5, 1.0, 2.0),))
    corners = generator(images(64, 128), [torch.zeros(1, 1, 4, 8)])[0].numpy()
    sides = generator.cell_anchors[0].double().numpy()
    boxes = tuple(((x2 - x1) / 128, (y2 - y1) / 64) for x1, y1, x2, y2 in sides.tolist())
    found = Level(4, 8, boxes, offset=0.0).anchors()
    expected = np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], 1)
    np.testing.assert_allclose(corners / [128, 64, 128, 64], expected, atol=1e-6)


@pytest.mark.parametrize("level", [SMALL, Level(3, 2, ((1.5, 0.1),), (0.1, 1 / 3), 0.0)])
def test_json_inverts(level):
    assert Level.from_json(json.loads(json.dumps(level.to_json()))) == level


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 2, ((1.0, 1.0),)), "a level needs rows, columns and boxes, got 0 x 2 places with 1 boxes"),
        ((1, 2, ()), "a level needs rows, columns and boxes, got 1 x 2 places with 0 boxes"),
        ((1025, 1025, ((1.0, 1.0),)), "a level has at most 1,048,576 anchors, got 1,050,625"),
        ((1, 1, ((0.0, 1.0),)), r"a box of a level is a width and a height, .* got \(0.0, 1.0\)"),
        ((1, 1, ((float("nan"), 1.0),)), r"a box of a level is .* got \(nan, 1.0\)"),
        ((1, 1, ((1.0, 1.0, 1.0),)), r"a box of a level is .* got \(1.0, 1.0, 1.0\)"),
        ((1, 1, ((1.0, 1.0),), (1.0, float("inf"))), r"a step of a level is .* got \(1.0, inf\)"),
        ((1, 1, ((1.0, 1.0),), None, 1.5), r"offset must be in 0..1, of a step, got 1.5"),
    ],
)
def test_what_is_no_level_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Level(*values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": True}, "rows must be an integer of at most 1,000,000, got True"),
        ({"rows": 2.0}, "rows must be an integer .* got 2.0"),
        ({"rows": 10**400}, "rows must be an integer .*"),
        ({"boxes": {}}, "boxes must be an array, got {}"),
        ({"boxes": [[1]]}, "a box must be an array of 2 numbers, got 1"),
        ({"boxes": [[1, "1"]]}, "a box must be a number of at most 1,000,000, got '1'"),
        ({"boxes": [[1, 10**400]]}, "a box must be a number .*"),
        ({"step": 1}, "step must be an array, got 1"),
        ({"offset": None}, "offset must be a number .* got None"),
        ({"offset": float("nan")}, "offset must be a number .* got nan"),
        ({"colour": 1}, "a level must be an object with rows, columns, boxes, step, offset, got .*"),
    ],
)
def test_from_json_says_what_is_wrong_in_few_words(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        Level.from_json({**SMALL.to_json(), **change})
    assert len(str(caught.value)) < 300
