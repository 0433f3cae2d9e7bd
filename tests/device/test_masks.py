# SPDX-License-Identifier: Apache-2.0
"""Masks: programs read class indices, people see colours; and the overlay changes nothing but the classes."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from gossamer.device.masks import COLOURS, classes_of, logit, palette, write_mask, write_overlay
from tests.device.conftest import indices, noise


def test_colours_differ_and_background_is_black():
    colours = palette()
    assert colours.shape == (256, 3)
    assert len(np.unique(colours, axis=0)) == 256
    assert colours[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("classes", [2, 7, 256])
def test_a_mask_reads_back_as_indices_with_8_bits_a_pixel(tmp_path, classes):
    mask = np.random.default_rng(0).integers(0, classes, (33, 21)).astype(np.uint8)
    write_mask(tmp_path / "a.png", mask)
    np.testing.assert_array_equal(indices(tmp_path / "a.png"), mask)
    header = struct.unpack(">IIBB", (tmp_path / "a.png").read_bytes()[16:26])
    assert header == (21, 33, 8, 3)  # width, height, bits, palette
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.array(image.convert("RGB")), palette()[mask])
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_highest_score_is_the_class_and_the_first_of_equals():
    scores = np.array([[[0, 1, 5]], [[2, 1, 4]], [[1, 0, 6]]], np.float32)
    assert classes_of(scores, 0.0).tolist() == [[1, 0, 2]]


def test_a_single_score_is_compared_with_the_threshold():
    scores = np.array([[[-3.0, 0.0, 1.0, 3.0]]], np.float32)
    assert classes_of(scores, logit(0.5)).tolist() == [[0, 0, 1, 1]]
    assert classes_of(scores, logit(0.9)).tolist() == [[0, 0, 0, 1]]
    assert classes_of(scores, logit(0.1)).tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_overlay_leaves_the_background_as_it_is(tmp_path, mode):
    picture = Image.fromarray(noise(600, 40)).convert(mode)
    before = np.array(picture)
    mask = np.random.default_rng(1).integers(0, 3, (600, 40)).astype(np.uint8)
    write_overlay(tmp_path / "a.png", picture, mask)
    with Image.open(tmp_path / "a.png") as image:
        found = np.array(image).astype(int)
    colours = np.array(picture.convert("RGB")).astype(int)
    np.testing.assert_array_equal(found[mask == 0], colours[mask == 0])
    for index in (1, 2):
        half = (colours[mask == index] + COLOURS[index]) / 2
        assert np.abs(found[mask == index] - half).max() <= 0.5
    np.testing.assert_array_equal(np.array(picture), before)
