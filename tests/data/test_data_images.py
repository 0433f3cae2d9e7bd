# SPDX-License-Identifier: Apache-2.0
"""Images and splits: content hashes, views, and what a split refuses."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from gossamer.data.boxes import Boxes
from gossamer.data.images import ArrayImages, ChosenImages, Split, chunks, content_hash


def pictures(count: int, side: int = 4, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    shape = (count, side, side, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_content_hash_is_sha256_over_shape_and_pixels() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert content_hash(image) == hashlib.sha256(b"(2, 2, 3)" + bytes(range(12))).hexdigest()


def test_content_hash_tells_shapes_apart_and_ignores_memory_layout() -> None:
    image = pictures(1)[0]
    assert content_hash(image) != content_hash(image.reshape(2, 8, 3))
    assert content_hash(image) == content_hash(np.asfortranarray(image))


def test_hashes_come_in_order_also_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossamer.data.images.CHUNK", 3)
    images = ArrayImages(pictures(8))
    assert images.hashes() == [content_hash(image) for image in images.pixels]


def test_chunks_cover_everything_once() -> None:
    assert [chunk.tolist() for chunk in chunks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert list(chunks(0, 2)) == []


@pytest.mark.parametrize(
    "pixels", [np.zeros((2, 4, 4, 3), np.float32), np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4, 2), np.uint8)]
)
def test_array_images_must_be_uint8_channels_last(pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 \(N, H, W, C\) with 1 or 3 channels, got"):
        ArrayImages(pixels)


def test_chosen_images_are_a_view_in_the_given_order() -> None:
    images = ArrayImages(pictures(6))
    chosen = ChosenImages(images, np.array([5, 0, 3]))
    assert len(chosen) == 3
    assert chosen.shape == (4, 4, 3)
    np.testing.assert_array_equal(chosen.take(np.array([2, 0])), images.pixels[[3, 5]])
    assert chosen.hashes() == [images.hashes()[i] for i in (5, 0, 3)]


def test_subset_of_a_subset_points_at_the_source() -> None:
    whole = Split("all", ArrayImages(pictures(10)), np.arange(10))
    part = whole.subset(np.array([9, 4, 2]), "part").subset(np.array([2, 0]), "less")
    assert isinstance(part.images, ChosenImages)
    assert part.images.source is whole.images
    assert part.name == "less"
    assert part.labels is not None
    assert part.labels.tolist() == [2, 9]
    np.testing.assert_array_equal(part.images.take(np.arange(2)), whole.images.take(np.array([2, 9])))


def test_split_hash_ignores_order_and_sees_pixels_and_labels() -> None:
    labels = np.arange(6) % 3
    whole = Split("all", ArrayImages(pictures(6)), labels)
    shuffled = whole.subset(np.array([3, 1, 5, 0, 2, 4]), "other name")
    assert whole.sha256 == shuffled.sha256
    assert whole.sha256 != Split("all", ArrayImages(pictures(6)), labels[::-1].copy()).sha256
    assert whole.sha256 != Split("all", ArrayImages(pictures(6))).sha256
    changed = pictures(6)
    changed[5, 3, 3, 2] ^= 1
    assert whole.sha256 != Split("all", ArrayImages(changed), labels).sha256


def test_split_hash_pairs_each_label_with_its_image() -> None:
    """Two images that swap their labels are other data, although the sets of images and of labels are the same."""
    images = ArrayImages(pictures(2))
    assert Split("a", images, np.array([0, 1])).sha256 != Split("a", images, np.array([1, 0])).sha256


def test_split_needs_one_label_per_image() -> None:
    with pytest.raises(ValueError, match="split 'train' has 3 images but 2 labels"):
        Split("train", ArrayImages(pictures(3)), np.array([0, 1]))


def test_split_needs_int64_labels() -> None:
    with pytest.raises(ValueError, match=r"labels of split 'train' must be int64 \(N,\), got float64 \(3,\)"):
        Split("train", ArrayImages(pictures(3)), np.zeros(3))  # type: ignore[arg-type]


def test_split_prints_itself() -> None:
    assert str(Split("train", ArrayImages(pictures(3)))) == "train: 3 images 4x4x3"


def masked(count=6):
    pixels = np.arange(count * 4 * 4 * 3, dtype=np.uint8).reshape(count, 4, 4, 3)
    masks = (pixels[..., :1] % 2).astype(np.uint8)
    return Split("all", ArrayImages(pixels), masks=ArrayImages(masks), areas=np.arange(count) // 2)


def test_masks_and_areas_go_where_their_images_go():
    some = masked().subset(np.array([4, 1]), "some").subset(np.array([1]), "one").renamed("other")
    assert some.name == "other"
    assert np.array_equal(some.masks.take(np.array([0])), masked().masks.take(np.array([1])))
    assert some.areas.tolist() == [0]


def test_another_mask_is_other_data():
    one, other = masked(), masked()
    other.masks.pixels[0, 0, 0] ^= 1
    assert one.sha256 != other.sha256
    assert one.sha256 != Split("all", one.images).sha256


def test_masks_and_areas_that_do_not_fit_are_refused():
    images = masked().images
    with pytest.raises(
        ValueError, match=r"masks of split 'all' must be \(6, 4, 4, 1\) like its images, got \(5, 4, 4, 1\)"
    ):
        Split("all", images, masks=ArrayImages(np.zeros((5, 4, 4, 1), np.uint8)))
    with pytest.raises(ValueError, match="6 images but 2 areas; every image needs exactly one area"):
        Split("all", images, areas=np.zeros(2, np.int64))


def boxed(count=4):
    rows = [np.tile(np.array([0, 0, 0.5, 1, 1 + index, 0], np.float32), (index, 1)) for index in range(count)]
    return Split("all", ArrayImages(pictures(count)), boxes=Boxes.of(rows))


def test_boxes_go_where_their_images_go():
    some = boxed().subset(np.array([3, 0, 1]), "some").subset(np.array([2, 0]), "two").renamed("other")
    assert some.boxes.counts.tolist() == [1, 3]
    np.testing.assert_array_equal(some.boxes.rows[:, 4], [2, 4, 4, 4])
    assert boxed().sha256 == boxed().subset(np.array([2, 3, 1, 0]), "in another order").sha256


def test_other_boxes_are_other_data():
    one, other = boxed(), boxed()
    other.boxes.rows[0, 5] = 1
    assert one.sha256 != other.sha256
    assert one.sha256 != Split("all", one.images).sha256
    swapped = Split("all", one.images, boxes=one.boxes.choose(np.array([0, 2, 1, 3])))
    assert one.sha256 != swapped.sha256


def test_boxes_of_more_or_fewer_images_are_refused():
    with pytest.raises(ValueError, match="split 'all' has 4 images but boxes of 3; an image without objects has no"):
        Split("all", boxed().images, boxes=boxed(3).boxes)
