# SPDX-License-Identifier: Apache-2.0
"""Cuts between areas: none lies on two sides, whatever the order and the numbers of the areas."""

from __future__ import annotations

import numpy as np
import pytest

from gossamer.data.areas import arrange_by_area, part_by_area, without_blanks_of
from gossamer.data.images import ArrayImages, Split


def split(areas: int, each: int = 4, seed: int = 0, name: str = "all") -> Split:
    pixels = np.random.default_rng(seed).integers(0, 256, (areas * each, 4, 4, 3), dtype=np.uint8)
    masks = (pixels[..., :1] > 99).astype(np.uint8)
    return Split(name, ArrayImages(pixels), masks=ArrayImages(masks), areas=np.arange(areas * each) % areas)


def sides(first: Split, second: Split) -> tuple[set[int], set[int]]:
    return set(first.areas.tolist()), set(second.areas.tolist())


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 5), (0.72, 7), (1.0, 9)])
def test_areas_stay_whole_and_both_sides_have_some(share, expected):
    first, second = part_by_area(split(10), share, "here")
    left, right = sides(first, second)
    assert (len(left), len(right)) == (expected, 10 - expected)
    assert not left & right
    assert len(first) + len(second) == 40


def test_the_cut_goes_by_content_not_by_order_or_number():
    whole = split(10)
    shuffled = whole.subset(np.random.default_rng(1).permutation(40), "all")
    renumbered = Split("all", shuffled.images, masks=shuffled.masks, areas=100 - shuffled.areas)
    one, other = part_by_area(whole, 0.5, "here")[0], part_by_area(renumbered, 0.5, "here")[0]
    assert one.sha256 == other.sha256
    assert set(one.areas.tolist()) == {100 - area for area in other.areas.tolist()}


def test_equal_areas_stay_together():
    whole = split(6)
    pixels = whole.images.pixels
    for area in range(1, 5):
        pixels[np.arange(24) % 6 == area] = pixels[np.arange(24) % 6 == 0]
    for share in (0.2, 0.4, 0.6, 0.8):
        left, _ = sides(*part_by_area(whole, share, "here"))
        assert len(left & set(range(5))) in (0, 5)


def test_one_held_out_part_is_halved_between_areas():
    given = {"train": split(3, seed=1), "val": split(4, seed=2)}
    splits = arrange_by_area(given, ("a", "b"), "here")
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (12, 8, 8)
    assert not set.intersection(*sides(splits.selection, splits.test))
    assert splits.notes == (
        "here has one held-out part, 'val': halved by content hash for selection and test, 2 and 2 whole pictures",
    )
    assert [s.name for s in (splits.train, splits.selection, splits.test)] == ["train", "selection", "test"]


def test_unsplit_data_are_cut_between_areas():
    splits = arrange_by_area({"all": split(20)}, ("a", "b"), "here")
    assert [len(np.unique(s.areas)) for s in (splits.train, splits.selection, splits.test)] == [16, 2, 2]
    assert "16 pictures for training, 2 for selection, 2 for the test" in splits.notes[0]


@pytest.mark.parametrize(("pictures", "parts"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (7, [5, 1, 1])])
def test_a_few_pictures_are_enough_for_three_splits(pictures, parts):
    splits = arrange_by_area({"all": split(pictures)}, ("a", "b"), "here")
    assert [len(np.unique(s.areas)) for s in (splits.train, splits.selection, splits.test)] == parts


def test_three_parts_are_the_three_splits():
    given = {name: split(2, seed=seed, name=name) for seed, name in enumerate(("train", "val", "test"))}
    splits = arrange_by_area(given, ("a", "b"), "here")
    assert splits.selection.sha256 == given["val"].sha256
    assert splits.test.sha256 == given["test"].sha256
    assert splits.notes == ()


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ValueError, match="here must be cut between pictures, but 'all' has 1; give at least 2 of"):
        part_by_area(split(1), 0.5, "here")
    with pytest.raises(ValueError, match="here must be cut between pictures, but 'all' has 2; give at least 3 of"):
        arrange_by_area({"all": split(2)}, ("a", "b"), "here")
    with pytest.raises(ValueError, match="split 'all' has no areas"):
        part_by_area(Split("all", split(2).images), 0.5, "here")
    with pytest.raises(ValueError, match=r"needs images to train on and images held out, got only \['train'\]"):
        arrange_by_area({"train": split(2)}, ("a", "b"), "here")


def test_blank_tiles_of_two_splits_go_from_the_first_and_others_stay():
    one, other = split(3, seed=1, name="train"), split(3, seed=2)
    one.images.pixels[[0, 5]] = 7
    one.images.pixels[2] = 9  # blank, but nowhere else
    other.images.pixels[3] = 7
    one.images.pixels[4] = other.images.pixels[4]  # the same picture twice is an error, to be found later
    kept, gone = without_blanks_of(one, other)
    assert gone == 2
    assert kept.name == "train"
    np.testing.assert_array_equal(kept.images.take(np.arange(10)), np.delete(one.images.pixels, [0, 5], 0))
    assert without_blanks_of(other) == (other, 0)
