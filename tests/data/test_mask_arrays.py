# SPDX-License-Identifier: Apache-2.0
"""Arrays with masks: plain files, the packed form written here by hand, and what does not fit."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gossamer.data.mask_arrays import is_mask_pack, load
from gossamer.data.splits import check_disjoint

SIDE = 12  # 18 bytes of mask


def arrays(count, seed=0, **more):
    """Noise, whose truth is where its red is light."""
    images = np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return {"images": images, "masks": (images[..., 0] > 127).astype(np.uint8), **more}


def fits(split):
    images, masks = (of.take(np.arange(len(split))) for of in (split.images, split.masks))
    return bool(((images[..., :1] > 127) == masks).all())


@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool, "light"])
def test_unsplit_arrays_are_cut_by_content(tmp_path, kind):
    plain = arrays(20)
    plain["masks"] = plain["masks"] * 255 if kind == "light" else plain["masks"].astype(kind)
    np.savez(tmp_path / "all.npz", **plain)
    splits = load(tmp_path / "all.npz")
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (16, 2, 2)
    assert splits.classes == ("background", "foreground")
    assert splits.train.masks.shape == (SIDE, SIDE, 1)
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))
    assert splits.train.areas is None


def test_areas_stay_whole(tmp_path):
    np.savez(tmp_path / "all.npz", **arrays(30, areas=np.arange(30) % 10, classes=np.array(["land", "water"])))
    splits = load(tmp_path / "all.npz")
    parts = [set(split.areas.tolist()) for split in (splits.train, splits.selection, splits.test)]
    assert [len(part) for part in parts] == [8, 1, 1]
    assert len(set.union(*parts)) == 10
    assert splits.classes == ("land", "water")


def test_arrays_of_three_parts_and_more_classes(tmp_path):
    named = {}
    for seed, part in enumerate(("train", "val", "test")):
        of = arrays(3 + seed, seed)
        of["masks"][0, 0, 0] = 2 + (part == "val")
        named |= {f"{part}_{name}": array for name, array in of.items()}
    np.savez(tmp_path / "all.npz", **named)
    splits = load(tmp_path / "all.npz")
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (3, 4, 5)
    assert splits.classes == ("0", "1", "2", "3")


def test_grey_images(tmp_path):
    plain = arrays(20)
    np.savez(tmp_path / "all.npz", images=plain["images"][..., 0], masks=plain["masks"])
    assert load(tmp_path / "all.npz").train.images.shape == (SIDE, SIDE, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": None}, r"expected arrays 'images' and 'masks', .* in .*all.npz, got \['masks'\]"),
        ({"masks": None}, r"expected an array 'masks' in .*all.npz, got images"),
        ({"images": np.zeros((4, 3, 3, 3))}, r"images in .* must be uint8 .*, got float64 \(4, 3, 3, 3\)"),
        ({"images": np.zeros((0, 3, 3, 3), np.uint8)}, r"images in .* must be uint8 .*, got uint8 \(0, 3, 3, 3\)"),
        ({"masks": np.zeros((4, 3, 3), np.uint8)}, r"masks in .* whole numbers \(4, 12, 12\).*, got uint8 \(4, 3, 3\)"),
        ({"masks": np.zeros((4, SIDE, SIDE))}, r"masks in .* must be whole numbers .*, got float64"),
        ({"masks": np.full((4, SIDE, SIDE), -1)}, r"masks in .* must be from 0 to 255, got -1 to -1"),
        (
            {"masks": np.full((4, SIDE, SIDE), 2**64 - 1, np.uint64)},
            r"must be from 0 to 255, got 18446744073709551615 to",
        ),
        ({"areas": np.zeros(4)}, r"areas in .* must be whole numbers, got float64"),
        ({"classes": np.array(["a", "b"]), "masks": np.full((4, SIDE, SIDE), 2)}, r"masks of 2 classes .*, got 2 in"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changed, message):
    every = {name: array for name, array in (arrays(4) | changed).items() if array is not None}
    np.savez(tmp_path / "all.npz", **every)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "all.npz")


def packed(count=24):
    """Tiles of two regions: every third in a held-out area, every fourth at a held-out edge, every twelfth both."""
    jpegs, bits = [], []
    for number in range(count):
        level = 10 * number
        tile = np.full((SIDE, SIDE, 3), level, np.uint8)
        tile[: 1 + number % SIDE] = 255 - level
        written = io.BytesIO()
        Image.fromarray(tile).save(written, "JPEG", quality=95)
        jpegs.append(written.getvalue())
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[: 1 + number % SIDE] = 1
        bits.append(np.packbits(mask))
    numbers = np.arange(count)
    tiles = {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "offsets": np.cumsum([0, *map(len, jpegs)]),
        "region": (1 + numbers // 12).astype(np.uint8),
        "test": numbers % 3 == 0,
        "test_in_area": numbers % 4 == 0,
    }
    return tiles, np.stack(bits)


def write(folder, tiles, bits):
    np.savez(folder / "tiles.npz", **tiles)
    np.savez(folder / "masks.npz", mask_bits=bits)
    return folder


def number_of(split):
    """Which tiles these are, by the number of rows of the building and the region."""
    rows = split.masks.take(np.arange(len(split)))[..., 0].any(2).sum(1)
    return sorted((rows - 1 + 12 * (split.areas // 2 - 1)).tolist())


def test_a_pack_has_training_held_out_edges_and_a_second_test(tmp_path):
    write(tmp_path, *packed())
    assert is_mask_pack(tmp_path)
    splits = load(tmp_path)
    second = splits.second_test
    assert number_of(splits.train) == [n for n in range(24) if n % 3 and n % 4]
    assert sorted(number_of(splits.selection) + number_of(splits.test)) == [4, 8, 16, 20], "none in a held-out area"
    assert (len(splits.selection), len(splits.test)) == (2, 2)
    assert number_of(second) == [n for n in range(24) if n % 3 == 0], "all of the held-out areas"
    check_disjoint(splits.train, splits.selection, splits.test, second)
    assert splits.classes == ("background", "building")
    assert set(second.areas.tolist()) == {3, 5}
    assert set(splits.train.areas.tolist()) == {2, 4}
    assert "the second test is 8 tiles of areas that nothing was trained" in splits.notes[1]
    assert "second test: 8 images" in str(splits)


def test_a_pack_without_held_out_areas_has_no_second_test(tmp_path):
    tiles, bits = packed()
    splits = load(write(tmp_path, tiles | {"test": np.zeros(24, bool)}, bits))
    assert splits.second_test is None
    assert len(splits.notes) == 1


def test_arrays_may_have_a_second_test(tmp_path):
    named = {
        f"{part}_{name}": array
        for seed, part in enumerate(("train", "val", "test", "second"))
        for name, array in arrays(3 + seed, seed).items()
    }
    np.savez(tmp_path / "all.npz", **named)
    second = load(tmp_path / "all.npz").second_test
    assert (second.name, len(second)) == ("second test", 6)
    assert fits(second)


def test_tiles_of_a_pack_are_its_pictures(tmp_path):
    train = load(write(tmp_path, *packed())).train
    images, masks = train.images.take(np.arange(len(train))), train.masks.take(np.arange(len(train)))
    for image, mask in zip(images.astype(int), masks, strict=True):
        border = int(mask[..., 0].any(1).sum())
        assert abs(image[0].mean() + image[-1].mean() - 255) < 12 or border == SIDE, (
            "one level above, its opposite below"
        )
        assert np.abs(image[:border] - image[0].mean()).max() < 25


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("jpeg", None, r"expected an array 'jpeg' in .*tiles.npz, got offsets, region"),
        ("jpeg", np.zeros(99_999, np.uint8), r"tile 0 in .*tiles.npz is not a readable picture"),
        ("offsets", np.array([0, 9, 5]), r"offsets in .*tiles.npz must rise from 0 to the \d+ bytes of jpeg"),
        ("region", np.zeros(3, np.uint8), r"region in .* must be of 24 tiles, got 3"),
    ],
)
def test_a_damaged_pack_is_refused(tmp_path, name, value, message):
    tiles, bits = packed()
    tiles = {key: array for key, array in (tiles | {name: value}).items() if array is not None}
    if name == "offsets":
        tiles |= {key: tiles[key][:2] for key in ("region", "test", "test_in_area")}
        bits = bits[:2]
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path, tiles, bits))


def test_masks_of_another_size_are_refused(tmp_path):
    tiles, bits = packed()
    with pytest.raises(
        ValueError, match=r"mask_bits in .* must be uint8 \(24, 18\), one bit .* 12x12 pixels, got uint8"
    ):
        load(write(tmp_path, tiles, bits[:, :-1]))


def test_a_folder_that_is_no_pack_is_named(tmp_path):
    assert not is_mask_pack(tmp_path)
    with pytest.raises(ValueError, match=r"expected tiles.npz and masks.npz in .*; they are not there"):
        load(tmp_path)
