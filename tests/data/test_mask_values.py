# SPDX-License-Identifier: Apache-2.0
"""Values of masks: two classes in either writing, more as numbers, JPEG as black and white, and nothing guessed."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gossamer.data.mask_values import as_classes, class_map, classes_found

TRUTH = np.kron(np.array([[0, 1, 0], [1, 1, 0]]), np.ones((8, 8))).astype(np.uint8)  # squares of 8 pixels


def save(path, values, **options):
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path, **options)
    return path


@pytest.mark.parametrize(
    "values", [TRUTH, TRUTH * 255, TRUTH.astype(bool), TRUTH.astype(np.uint16), TRUTH.astype(np.int32)]
)
def test_two_classes_in_any_writing(tmp_path, values):
    found = class_map(save(tmp_path / "mask.tif", values), 2)
    assert (found.dtype, found.shape) == (np.uint8, (16, 24, 1))
    np.testing.assert_array_equal(found[..., 0], TRUTH)


def test_a_palette_counts_by_its_indices(tmp_path):
    coloured = Image.fromarray(TRUTH * 2)
    coloured.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
    assert coloured.mode == "P"
    np.testing.assert_array_equal(class_map(save(tmp_path / "mask.png", coloured), 3)[..., 0], TRUTH * 2)


def test_jpeg_is_black_and_white(tmp_path):
    truth = np.roll(TRUTH, 3, (0, 1))  # borders inside JPEG's squares of 8 pixels
    path = save(tmp_path / "mask.jpg", truth * 255, quality=60)
    assert len(np.unique(np.asarray(Image.open(path)))) > 20, "or the test says nothing"
    np.testing.assert_array_equal(class_map(path, 2)[..., 0], truth)
    assert not class_map(save(tmp_path / "empty.jpg", TRUTH * 0), 2).any()
    with pytest.raises(ValueError, match=r"a JPEG mask holds black and white, got values up to \d+ in .*numbers.jpg"):
        class_map(save(tmp_path / "numbers.jpg", TRUTH * 7), 8)


def test_values_that_are_no_class_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"masks of 2 classes hold 0 to 1 \(or 0 and 255\), got 2 in .*mask.png"):
        class_map(save(tmp_path / "mask.png", TRUTH * 2), 2)
    with pytest.raises(ValueError, match="masks of 3 classes hold 0 to 2, got 255 in here; pixels to be ignored"):
        as_classes(TRUTH * 255, 3, "here")
    mixed = TRUTH.copy()
    mixed[0, 0] = 255
    with pytest.raises(ValueError, match=r"masks of 2 classes hold 0 to 1 \(or 0 and 255\), got 255 in here"):
        as_classes(mixed, 2, "here")
    with pytest.raises(ValueError, match=r"a mask holds numbers from 0 to 255, got 0 to 300 in .*mask.tif"):
        class_map(save(tmp_path / "mask.tif", TRUTH.astype(np.uint16) * 300), 2)
    with pytest.raises(ValueError, match=r"got mode F in .*mask.tif"):
        class_map(save(tmp_path / "mask.tif", TRUTH.astype(np.float32)), 2)


def test_classes_are_counted_over_all_masks(tmp_path):
    one, light = save(tmp_path / "one.png", TRUTH), save(tmp_path / "light.png", TRUTH * 255)
    two, mixed = save(tmp_path / "two.png", TRUTH * 2), save(tmp_path / "mixed.png", TRUTH * 155 + 100)
    empty = save(tmp_path / "empty.png", TRUTH * 0)
    assert classes_found([empty, one, light]) == ("background", "foreground")
    assert classes_found([one, two, empty]) == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"got 255 beside other values, in .*light.png or another mask"):
        classes_found([light, two])
    with pytest.raises(ValueError, match="got 255 beside other values"):
        classes_found([mixed])
