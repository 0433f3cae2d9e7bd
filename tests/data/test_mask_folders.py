# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures and masks: layouts, tiles that fit each other, class names, and masks that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer.data.mask_folders import is_mask_folder, load
from gossamer.data.splits import check_disjoint

SIDE = 24


def picture(seed: int, shape: tuple[int, int] = (SIDE, SIDE)) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and as the truth where its red is light: a tile of one only fits the same tile of the other."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)
    return pixels, (pixels[..., 0] > 127).astype(np.uint8)


def write(part: Path, names: list[str], folders: tuple[str, str] = ("images", "masks"), light: int = 255, **options):
    """Pictures with masks of 0 and `light`."""
    for folder in folders:
        (part / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels, mask = picture(sum(name.encode()) + sum(str(part.name).encode()), **options)
        Image.fromarray(pixels).save(part / folders[0] / f"{name}.png")
        Image.fromarray(mask * np.uint8(light)).save(part / folders[1] / f"{name}.tif")


def fits(split) -> bool:
    """Whether every mask is its image's."""
    images, masks = (of.take(np.arange(len(split))) for of in (split.images, split.masks))
    return bool(((images[..., :1] > 127) == masks).all())


@pytest.fixture
def three(tmp_path):
    for part, count in (("train", 4), ("val", 3), ("test", 2)):
        write(tmp_path / part, [f"p{number}" for number in range(count)])
    return tmp_path


@pytest.mark.parametrize("light", [1, 255])
def test_three_parts_are_the_three_splits(tmp_path, light):
    for part, count in (("train", 4), ("val", 3), ("test", 2)):
        write(tmp_path / part, [f"p{number}" for number in range(count)], light=light)
    assert is_mask_folder(tmp_path)
    splits = load(tmp_path, SIDE)
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (4, 3, 2)
    assert splits.classes == ("background", "foreground")
    assert splits.notes == ()
    assert splits.train.images.shape == (SIDE, SIDE, 3)
    assert splits.train.masks.shape == (SIDE, SIDE, 1)
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))
    assert [s.areas.tolist() for s in (splits.train, splits.selection, splits.test)] == [
        [0, 1, 2, 3],
        [4, 5, 6],
        [7, 8],
    ]


def test_large_pictures_become_tiles_with_their_picture_as_area(tmp_path):
    write(tmp_path / "train", ["a", "b"], shape=(20, 30))
    write(tmp_path / "val", ["a"], shape=(8, 12))
    write(tmp_path / "test", ["a"], shape=(9, 13))
    splits = load(tmp_path, (8, 12), overlap=2)
    assert splits.train.areas.tolist() == [0] * 9 + [1] * 9
    assert (splits.selection.areas.tolist(), splits.test.areas.tolist()) == ([2], [3, 3, 3, 3])
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))
    check_disjoint(splits.train, splits.selection, splits.test)


def test_without_parts_pictures_are_cut_as_a_whole(tmp_path):
    write(tmp_path, [f"p{number}" for number in range(10)])
    splits = load(tmp_path, SIDE // 2, overlap=3)
    parts = [set(split.areas.tolist()) for split in (splits.train, splits.selection, splits.test)]
    assert [len(part) for part in parts] == [8, 1, 1]
    assert len(set.union(*parts)) == 10
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))


def test_grey_pictures(three):
    assert load(three, SIDE, channels=1).train.images.take(np.arange(2)).shape == (2, SIDE, SIDE, 1)


@pytest.mark.parametrize("root", ["", "AerialImageDataset"])
def test_inria_as_downloaded(tmp_path, root):
    cities = ["austin", "tyrol-w", "vienna"]
    write(tmp_path / root / "train", [f"{c}{n}" for c in cities for n in (1, 2, 5, 6, 36)], ("images", "gt"))
    (tmp_path / root / "test" / "images").mkdir(parents=True)
    splits = load(tmp_path, SIDE)
    assert splits.classes == ("background", "building")
    assert (len(splits.train), len(splits.selection) + len(splits.test)) == (6, 9)
    assert min(len(splits.selection), len(splits.test)) == 4
    assert splits.notes[1].endswith("test has no masks and is left out")
    assert "is Inria's: images 1 to 5 of each city are held out" in splits.notes[2]
    assert {path.stem for path in splits.train.images.files} == {f"{city}{n}" for city in cities for n in (6, 36)}


@pytest.mark.parametrize("root", ["", "trainval"])
def test_airs_as_downloaded(tmp_path, root):
    for part, number in (("train", 10), ("val", 20)):
        write(tmp_path / root / part, [f"christchurch_{number + n}" for n in range(3)], ("image", "label"), light=1)
        write(tmp_path / root / part, [f"christchurch_{number}_vis"], ("seen", "label"))  # for people
    write(tmp_path / "test", ["christchurch_30"], ("image", "label"), light=1)
    splits = load(tmp_path, SIDE)
    assert splits.classes == ("background", "building")
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (3, 3, 1)


def test_classes_come_from_a_list_or_from_whoever_asks(three):
    assert load(three, SIDE, classes=("land", "water")).classes == ("land", "water")
    (three / "classes.txt").write_text("soil\nroof\n")
    assert load(three, SIDE).classes == ("soil", "roof")
    with pytest.raises(ValueError, match=r"expected two or more classes of pixels in .*, got \['water'\]"):
        load(three, SIDE, classes=("water",))


def test_more_classes_are_numbers(three):
    pixels = np.arange(SIDE * SIDE).reshape(SIDE, SIDE).astype(np.uint8) % 5
    Image.fromarray(pixels).save(three / "val" / "masks" / "p1.tif")
    for mask in three.rglob("p*.tif"):
        if mask.name != "p1.tif" or mask.parent.parent.name != "val":
            Image.fromarray((np.asarray(Image.open(mask)) > 0).astype(np.uint8) * 3).save(mask)
    splits = load(three, SIDE)
    assert splits.classes == ("0", "1", "2", "3", "4")
    np.testing.assert_array_equal(splits.selection.masks.take(np.array([1]))[0, ..., 0], pixels)


def test_a_blank_tile_that_two_splits_share_stays_in_the_later_one(three):
    for part in ("train", "test"):
        Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(three / part / "images" / "p1.png")
    splits = load(three, SIDE)
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (3, 3, 2)
    assert splits.train.areas.tolist() == [0, 2, 3]
    assert splits.notes == ("tiles of one colour that two splits share are left out: 1 of train, 0 of selection",)
    check_disjoint(splits.train, splits.selection, splits.test)


def test_a_picture_without_a_mask_and_a_mask_without_a_picture_are_named(three):
    (three / "val" / "masks" / "p2.tif").rename(three / "val" / "masks" / "q2.tif")
    with pytest.raises(ValueError, match=r"expected a mask for .*val/images/p2.png, found no .*val/masks/p2.png"):
        load(three, SIDE)
    (three / "val" / "images" / "p2.png").unlink()
    with pytest.raises(ValueError, match=r"expected an image for .*val/masks/q2.tif, found none \(1 such masks\)"):
        load(three, SIDE)


def test_a_mask_of_another_size_is_named(three):
    Image.new("L", (SIDE, SIDE + 1)).save(three / "train" / "masks" / "p3.tif")
    with pytest.raises(ValueError, match=r"a mask must have the size of its image, got 25x24 beside 24x24 in .*p3.tif"):
        load(three, SIDE)


def test_a_mask_in_colour_is_named(three):
    Image.new("RGB", (SIDE, SIDE)).save(three / "train" / "masks" / "p3.tif")
    with pytest.raises(ValueError, match=r"a mask has one channel, the class of each pixel, got mode RGB in .*p3.tif"):
        load(three, SIDE)


def test_two_masks_of_a_name_are_named(three):
    Image.new("L", (SIDE, SIDE)).save(three / "train" / "masks" / "p3.png")
    with pytest.raises(ValueError, match=r"expected one mask of a name, got .*p3.png and .*p3.tif; delete one"):
        load(three, SIDE)


def test_pictures_smaller_than_a_tile_are_named(three):
    with pytest.raises(ValueError, match=r"pictures must be at least 32x24, got 24x24 in .*train/images/p0.png"):
        load(three, (32, 24))


def test_folders_without_pictures_or_masks_are_named(tmp_path):
    assert not is_mask_folder(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"there is no folder .*gone; check --data"):
        load(tmp_path / "gone", SIDE)
    assert not is_mask_folder(tmp_path)
    with pytest.raises(ValueError, match=r"expected .*/train/images and .*/train/masks, or .* found neither"):
        load(tmp_path, SIDE)
    (tmp_path / "train" / "images").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"expected masks beside the images of .*train, in a folder masks or mask or"):
        load(tmp_path, SIDE)
    (tmp_path / "train" / "masks").mkdir()
    with pytest.raises(ValueError, match=r".*train/images has no images; add some or delete the folder"):
        load(tmp_path, SIDE)


def test_pictures_beside_the_parts_are_refused(three):
    write(three, ["p0"])
    with pytest.raises(ValueError, match=r"has images of its own beside those in test, train, val"):
        load(three, SIDE)
