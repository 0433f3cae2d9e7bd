# SPDX-License-Identifier: Apache-2.0
"""Arrays in .npz files: every layout that is accepted, and one sentence for every one that is not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gossamer.data.arrays import check_labels, load, read
from gossamer.data.images import ArrayImages, Split

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)


def save(folder: Path, name: str = "data.npz", **arrays: Any) -> Path:
    path = folder / name
    np.savez(path, **arrays)
    return path


def pixels_of(split: Split) -> np.ndarray:
    return split.images.take(np.arange(len(split), dtype=np.int64))


def webp(images: np.ndarray) -> np.ndarray:
    """Square images one under the other, as the bytes of a lossless WebP picture."""
    buffer = io.BytesIO()
    Image.fromarray(images.reshape(-1, *images.shape[2:])).save(buffer, "webp", lossless=True)
    return np.frombuffer(buffer.getvalue(), np.uint8)


@pytest.mark.parametrize(("x", "y"), [("images", "labels"), ("x", "y")])
@pytest.mark.parametrize("channels_first", [False, True])
def test_plain_arrays(tmp_path: Path, x: str, y: str, channels_first: bool) -> None:
    stored = IMAGES.transpose(0, 3, 1, 2) if channels_first else IMAGES
    split = read(save(tmp_path, **dict[str, Any]({x: stored, y: LABELS})))["all"]
    np.testing.assert_array_equal(pixels_of(split), IMAGES)
    assert split.labels is not None
    assert split.labels.dtype == np.int64
    assert split.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize("pattern", ["{}_x {}_y", "x_{} y_{}", "{}_images {}_labels"])
def test_one_file_with_two_splits_of_grey_images(tmp_path: Path, pattern: str) -> None:
    arrays: dict[str, Any] = {}
    for name, start in (("train", 0), ("test", 3)):
        x, y = pattern.format(name, name).split()
        arrays[x], arrays[y] = IMAGES[start : start + 3, :, :, 0], LABELS[start : start + 3, None]
    splits = read(save(tmp_path, **arrays))
    assert sorted(splits) == ["test", "train"]
    np.testing.assert_array_equal(pixels_of(splits["test"]), IMAGES[3:, :, :, :1])
    assert splits["test"].labels is not None
    assert splits["test"].labels.tolist() == [0, 1, 2]


def test_packed_images_come_back_exactly(tmp_path: Path) -> None:
    square = RNG.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    path = save(tmp_path, webp_01=webp(square[3:]), webp_00=webp(square[:3]), labels=np.arange(5))
    split = read(path)["all"]
    np.testing.assert_array_equal(pixels_of(split), square)


def test_a_folder_of_files_becomes_three_splits(tmp_path: Path) -> None:
    many = RNG.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8)
    for name, of in (("train_1", slice(0, 6)), ("train_2", slice(6, 10)), ("test", slice(10, 30))):
        save(tmp_path, f"{name}.npz", images=many[of], labels=np.arange(30)[of] % 3)
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat")  # as an editor may leave it
    splits = load(tmp_path)
    assert splits.classes == ("ant", "bee", "cat")
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (10, 10, 10)
    np.testing.assert_array_equal(pixels_of(splits.train), many[:10])
    assert "'test': halved" in splits.notes[0]


def test_class_names_come_with_the_arrays_or_are_numbers(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"train_x": IMAGES, "train_y": LABELS, "test_x": 255 - IMAGES, "test_y": LABELS}
    assert load(save(tmp_path, **arrays)).classes == ("0", "1", "2")
    assert load(save(tmp_path, classes=np.array(["ant", "bee", "cat"]), **arrays)).classes == ("ant", "bee", "cat")


def test_one_unsplit_file_is_cut(tmp_path: Path) -> None:
    many = RNG.integers(0, 256, (50, 4, 4, 3), dtype=np.uint8)
    splits = load(save(tmp_path, images=many, labels=np.arange(50) % 2))
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (40, 5, 5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": LABELS}, r"expected arrays 'images' and 'labels' .* got \['a'\]"),
        ({"images": IMAGES / 255, "labels": LABELS}, "data.npz: images must be uint8, got float64"),
        ({"images": IMAGES[..., :2], "labels": LABELS}, r"with 1 or 3 channels, got \(6, 8, 10, 2\)"),
        ({"images": IMAGES}, "has images for 'all' but no labels"),
        ({"images": IMAGES, "labels": LABELS[:4]}, "has 6 images but 4 labels for 'all'"),
        ({"images": IMAGES, "labels": LABELS / 2}, r"labels in .* must be integers \(N,\), got float64 \(6,\)"),
        ({"images": IMAGES, "labels": np.eye(6, dtype=int)}, r"must be integers \(N,\), got int64 \(6, 6\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, "has no images for 'all'"),
        ({"webp_00": LABELS, "labels": LABELS}, "data.npz: webp_00 is not a readable picture"),
        ({"webp_00": webp(np.zeros((1, 9, 8, 3), np.uint8)), "labels": LABELS}, "a column of square images, got 9x8"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(save(tmp_path, **arrays))


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_outside_the_classes_are_named(tmp_path: Path, label: int) -> None:
    labels = LABELS.astype(np.int64)
    labels[4] = label
    path = save(
        tmp_path,
        train_x=IMAGES,
        train_y=labels,
        test_x=255 - IMAGES,
        test_y=LABELS,
        classes=np.array(["a", "b", "c"]),
    )
    with pytest.raises(ValueError, match=rf"in 0..2 for 3 classes, got {label} for example 4 of 'train' in .*data.npz"):
        load(path)


def test_splits_without_labels_have_none_outside() -> None:
    check_labels(Split("calibration", ArrayImages(IMAGES)), 2, "here")


def test_pickled_arrays_are_not_opened(tmp_path: Path) -> None:
    path = save(tmp_path, images=np.array([{"run": "me"}], dtype=object), labels=LABELS)
    with pytest.raises(ValueError, match=r"expected plain arrays in an .npz file, but .*data.npz cannot be read"):
        load(path)


def test_a_single_array_is_not_a_data_set(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", IMAGES)
    (tmp_path / "data.npy").rename(tmp_path / "data.npz")
    with pytest.raises(ValueError, match="cannot be read: it is a single array"):
        load(tmp_path / "data.npz")


@pytest.mark.parametrize("damage", [b"", b"not a zip file"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(damage)
    with pytest.raises(ValueError, match=r"data.npz cannot be read"):
        load(tmp_path / "data.npz")


def test_a_cut_file_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"data.npz cannot be read"):
            load(path)


def test_a_flipped_byte_in_the_pixels_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, images=IMAGES, labels=LABELS)
    damaged = bytearray(path.read_bytes())
    damaged[500] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"data.npz cannot be read: Bad CRC-32"):
        load(path)


def test_a_missing_file_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*gone.npz"):
        load(tmp_path / "gone.npz")
    with pytest.raises(ValueError, match=r"no .npz file in .*; expected train\*.npz and test\*.npz"):
        load(tmp_path)


def test_files_with_and_without_a_split_do_not_mix(tmp_path: Path) -> None:
    save(tmp_path, "train.npz", images=IMAGES, labels=LABELS)
    save(tmp_path, "more.npz", images=IMAGES, labels=LABELS)
    with pytest.raises(ValueError, match=r"mixes files named train\*, val\* or test\* with others"):
        load(tmp_path)


def test_shards_of_different_sizes_do_not_join(tmp_path: Path) -> None:
    save(tmp_path, "train_1.npz", images=IMAGES, labels=LABELS)
    save(tmp_path, "train_2.npz", images=IMAGES[:, :4], labels=LABELS)
    save(tmp_path, "test.npz", images=IMAGES, labels=LABELS)
    with pytest.raises(
        ValueError, match=r"images of 'train' must all have one size, got \[\(4, 10, 3\), \(8, 10, 3\)\]"
    ):
        load(tmp_path)


def test_files_that_number_their_classes_otherwise_do_not_join(tmp_path: Path) -> None:
    save(tmp_path, "train.npz", images=IMAGES, labels=LABELS, classes=np.array(["ant", "bee", "cat"]))
    save(tmp_path, "test.npz", images=255 - IMAGES, labels=LABELS, classes=np.array(["bee", "ant", "cat"]))
    with pytest.raises(ValueError, match=r"expected the same classes .*, got ant, bee, cat in train.npz and bee, ant"):
        load(tmp_path)
    save(tmp_path, "test.npz", images=255 - IMAGES, labels=LABELS, classes=np.array(["ant", "bee", "cat"]))
    assert load(tmp_path).classes == ("ant", "bee", "cat")
