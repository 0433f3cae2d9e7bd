# SPDX-License-Identifier: Apache-2.0
"""Splits by content: whatever the order and the duplicates, no image is on two sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer.data.images import ArrayImages, Split
from gossamer.data.splits import arrange, check_disjoint, halves, hold_out, part

few_values = st.lists(st.integers(0, 9), min_size=1, max_size=40)  # ten different images: many duplicates


def split_of(values: list[int], name: str = "all") -> Split:
    """One 1x1 image per value; its label is the value."""
    pixels = np.array(values, np.uint8).reshape(-1, 1, 1, 1)
    return Split(name, ArrayImages(pixels), np.array(values, np.int64))


def values_of(split: Split) -> list[int]:
    assert split.labels is not None
    pixels = split.images.take(np.arange(len(split), dtype=np.int64))
    assert pixels.reshape(-1).tolist() == split.labels.tolist()  # labels still belong to their images
    return [int(label) for label in split.labels]


@given(few_values)
def test_halves_share_no_image_and_lose_none(values: list[int]) -> None:
    first, second = map(values_of, halves(split_of(values)))
    assert not set(first) & set(second)
    assert sorted(first + second) == sorted(values)


@given(few_values, st.randoms())
def test_halves_do_not_depend_on_order(values: list[int], random: object) -> None:
    shuffled = values.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert [sorted(values_of(half)) for half in halves(split_of(values))] == [
        sorted(values_of(half)) for half in halves(split_of(shuffled))
    ]


@given(few_values, st.integers(0, 40))
def test_hold_out_takes_at_least_the_count_and_keeps_duplicates_together(values: list[int], count: int) -> None:
    count = min(count, len(values))
    rest, held = hold_out(split_of(values), count)
    assert len(held) >= count
    assert len(held) - count < max(values.count(value) for value in values)
    assert not set(values_of(rest)) & set(values_of(held))
    assert len(rest) + len(held) == len(values)


def test_halves_of_different_images_are_equal_and_keep_their_order() -> None:
    first, second = halves(split_of(list(range(200))))
    assert (first.name, second.name) == ("selection", "test")
    assert len(first) == len(second) == 100
    assert values_of(first) == sorted(values_of(first))
    assert values_of(first) != list(range(100))  # by content, not by position


def test_part_has_its_share() -> None:
    first, rest = part(split_of(list(range(200))), 0.8)
    assert (len(first), len(rest)) == (160, 40)


def test_hold_out_refuses_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="cannot hold 4 examples out of the 3 of split 'all'"):
        hold_out(split_of([1, 2, 3]), 4)


def test_check_disjoint_names_the_splits_and_an_example() -> None:
    selection, test = split_of([1, 2, 3, 4], "selection"), split_of([9, 4, 3], "test")
    check_disjoint(split_of([7, 8], "train"), selection)
    with pytest.raises(
        ValueError, match=r"'selection' and 'test' must not overlap, but 2 images of 'selection'.*\(example 2 is one\)"
    ):
        check_disjoint(split_of([7, 8], "train"), selection, test)


def test_arrange_takes_three_splits_as_they_are() -> None:
    splits = arrange({"train": split_of([1, 2]), "val": split_of([3]), "test": split_of([4, 5])}, ("a", "b"), "here")
    assert [values_of(s) for s in (splits.train, splits.selection, splits.test)] == [[1, 2], [3], [4, 5]]
    assert [s.name for s in (splits.train, splits.selection, splits.test)] == ["train", "selection", "test"]
    assert splits.notes == ()


@pytest.mark.parametrize("name", ["val", "test"])
def test_arrange_halves_the_only_held_out_part_and_says_so(name: str) -> None:
    splits = arrange({"train": split_of([200]), name: split_of(list(range(100)))}, ("a",), "here")
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (1, 50, 50)
    assert f"'{name}': halved" in splits.notes[0]
    check_disjoint(splits.train, splits.selection, splits.test)


def test_arrange_cuts_unsplit_data_and_says_so() -> None:
    splits = arrange({"all": split_of(list(range(200)))}, ("a",), "here")
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (160, 20, 20)
    assert "came unsplit" in splits.notes[0]
    check_disjoint(splits.train, splits.selection, splits.test)
    assert "160 images" in str(splits)


def test_arrange_needs_something_held_out() -> None:
    with pytest.raises(ValueError, match=r"here needs images to train on and images held out, got only \['train'\]"):
        arrange({"train": split_of([1])}, ("a",), "here")
