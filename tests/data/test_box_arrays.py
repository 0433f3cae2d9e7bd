# SPDX-License-Identifier: Apache-2.0
"""Pictures and boxes in one .npz file: packed as JPEG or plain, classes, held-out parts, and what does not fit."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer.data.annotated import arrange_boxes
from gossamer.data.box_arrays import as_given, is_box_file
from gossamer.data.images import content_hash
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import check_disjoint


def load(*args, **options):
    """Splits, as a run has them."""
    return arrange_boxes(as_given(*args, **options))


SQUEEZED = Preprocess((0.5,) * 3, (0.5,) * 3, (30, 40))
COUNT = 20


def pixels(number: int, plain: bool = False) -> np.ndarray:
    """A picture whose shade says which it is; packed ones have sizes of their own."""
    shape = (20, 30, 3) if plain else (20 + number, 30 - number, 3)
    return np.full(shape, 10 * number, np.uint8)


def packed(**more: np.ndarray) -> dict[str, np.ndarray]:
    """Picture i has i % 3 objects, whose left side says which it is."""
    jpegs = []
    for number in range(COUNT):
        written = io.BytesIO()
        Image.fromarray(pixels(number)).save(written, "JPEG", quality=95)
        jpegs.append(written.getvalue())
    rows = [(n, n / 40, 0.1 * k, 0.75, 0.5) for n in range(COUNT) for k in range(n % 3)]
    return {
        "jpeg": np.frombuffer(b"".join(jpegs), np.uint8),
        "offsets": np.cumsum([0, *map(len, jpegs)]),
        "boxes": np.array(rows, np.float32),
        **more,
    }


def plain(**more: np.ndarray) -> dict[str, np.ndarray]:
    arrays = packed(**more)
    del arrays["jpeg"], arrays["offsets"]
    return {"images": np.stack([pixels(n, plain=True) for n in range(COUNT)]), **arrays}


def save(path: Path, arrays: dict[str, np.ndarray | None]) -> Path:
    np.savez(path / "all.npz", **{name: array for name, array in arrays.items() if array is not None})
    return path / "all.npz"


def numbers(split) -> list[int]:
    """Which pictures these are, by their shade; raises where their boxes are not their own."""
    images, truth = split.images.take(np.arange(len(split))), split.boxes.take(np.arange(len(split)))
    found = [round(float(image.mean()) / 10) for image in images]
    assert split.boxes.counts.tolist() == [n % 3 for n in found]
    for number, rows in zip(found, truth, strict=True):
        np.testing.assert_allclose(rows[rows[:, 4] >= 0, 0], number / 40, rtol=1e-6)
    return found


HELD = np.arange(COUNT) % 4 == 1


@pytest.mark.parametrize("form", [packed, plain])
def test_a_test_set_stays_whole_and_selection_is_held_out_of_training(tmp_path, form):
    path = save(tmp_path, form(test=HELD))
    assert is_box_file(path)
    splits = load(path, SQUEEZED)
    assert numbers(splits.test) == np.flatnonzero(HELD).tolist()
    assert (len(splits.train), len(splits.selection)) == (12, 3)
    assert sorted(numbers(splits.train) + numbers(splits.selection)) == np.flatnonzero(~HELD).tolist()
    check_disjoint(splits.train, splits.selection, splits.test)
    assert splits.classes == ("object",)
    assert splits.train.images.shape == (30, 40, 3)
    assert splits.notes[0].endswith(f"not trained on; the test set of {path} is whole")
    assert splits.notes[1].startswith("images without an object of the classes, kept: ")


@pytest.mark.parametrize("form", [packed, plain])
def test_images_are_squeezed_in_order(tmp_path, form):
    train = load(save(tmp_path, form(test=HELD, val=np.roll(HELD, 1))), SQUEEZED).train
    images = train.images.take(np.arange(len(train)))
    expected = [SQUEEZED.squeeze(Image.fromarray(pixels(n, form is plain))) for n in numbers(train)]
    assert np.abs(images.astype(int) - np.stack(expected)).max() <= (0 if form is plain else 2)


def test_val_and_test_are_as_given_and_without_both_content_decides(tmp_path):
    splits = load(save(tmp_path, packed(test=HELD, val=np.roll(HELD, 1))), SQUEEZED)
    assert numbers(splits.selection) == np.flatnonzero(np.roll(HELD, 1)).tolist()
    assert (len(splits.train), len(splits.test)) == (10, 5)
    unsplit = load(save(tmp_path, packed()), SQUEEZED)
    assert (len(unsplit.train), len(unsplit.selection), len(unsplit.test)) == (16, 2, 2)
    assert sorted(numbers(unsplit.train) + numbers(unsplit.selection) + numbers(unsplit.test)) == list(range(COUNT))
    held = load(save(tmp_path, packed(val=HELD)), SQUEEZED)
    assert sorted([len(held.selection), len(held.test)]) == [2, 3]


def test_rows_may_come_in_any_order_and_whole_numbers(tmp_path):
    arrays = packed(test=HELD)
    arrays["boxes"] = np.random.default_rng(0).permutation(arrays["boxes"])
    splits = load(save(tmp_path, arrays), SQUEEZED)
    assert numbers(splits.test) == np.flatnonzero(HELD).tolist()
    arrays["boxes"] = np.array([[2, 0, 0, 1, 1]])
    assert load(save(tmp_path, arrays), SQUEEZED).train.boxes.rows.tolist() == [[0, 0, 1, 1, 0, 0]]


def of_classes(*rows: tuple, **more: np.ndarray) -> dict[str, np.ndarray]:
    return packed(test=HELD, **more) | {"boxes": np.array(rows)}


ROWS = [(0, 0.1, 0, 0.9, 1, 2, 1), (2, 0.2, 0, 0.9, 1, 0, 0), (1, 0.3, 0, 0.9, 1, 2, 0)]
NAMES = np.array(["ant", "bee", "cat"])


@pytest.mark.parametrize(
    ("named", "asked", "classes", "expected"),
    [
        (None, None, ("0", "1", "2"), {0.1: (2, 1), 0.2: (0, 0), 0.3: (2, 0)}),
        (None, ("a", "b", "c", "d"), ("a", "b", "c", "d"), {0.1: (2, 1), 0.2: (0, 0), 0.3: (2, 0)}),
        (NAMES, None, ("ant", "bee", "cat"), {0.1: (2, 1), 0.2: (0, 0), 0.3: (2, 0)}),
        (NAMES, ("cat", "bee"), ("cat", "bee"), {0.1: (0, 1), 0.3: (0, 0)}),
    ],
)
def test_classes_are_those_of_the_file_or_those_asked_for(tmp_path, named, asked, classes, expected):
    path = save(tmp_path, of_classes(*ROWS, classes=named))
    splits = load(path, SQUEEZED, classes=asked)
    assert splits.classes == classes
    rows = np.concatenate([s.boxes.rows for s in (splits.train, splits.selection, splits.test)])
    assert {round(float(row[0]), 4): (int(row[4]), int(row[5])) for row in rows} == expected


def test_one_class_has_the_name_asked_for(tmp_path):
    assert load(save(tmp_path, packed()), SQUEEZED, classes=("person",)).classes == ("person",)


def test_boxes_that_reach_out_are_cut_and_empty_ones_left_out(tmp_path):
    rows = [(0, -0.005, 0, 1.005, 1), (0, -0.5, 0.5, 0.5, 1.5), (2, 1.1, 0, 1.2, 1), (3, 0.5, 0.5, 0.5, 0.9)]
    splits = load(save(tmp_path, of_classes(*rows)), SQUEEZED)
    rows = [row for s in (splits.train, splits.selection) for row in s.boxes.rows.tolist()]
    assert rows == [[0, 0, 1, 1, 0, 0], [0, 0.5, 0.5, 1, 0, 0]]
    assert splits.notes[2:] == (
        "boxes that reach out of their pictures, cut at the border: 1",
        f"boxes without an area in their pictures, left out: 2, the first in {tmp_path}/all.npz",
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_images_and_grey_networks(tmp_path, channels):
    arrays = plain(test=HELD)
    arrays["images"] = arrays["images"][..., 0]
    preprocess = Preprocess((0.5,) * channels, (0.5,) * channels, 16, channels=channels)
    splits = load(save(tmp_path, arrays), preprocess)
    assert splits.train.images.shape == (16, 16, channels)
    assert numbers(splits.test) == np.flatnonzero(HELD).tolist()


def test_progress_counts_to_the_end(tmp_path):
    seen: list[tuple[int, int]] = []
    load(save(tmp_path, packed()), SQUEEZED, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(COUNT, COUNT)]


ROW = np.array([[3, 0.1, 0.1, 0.5, 0.5, 1, 0]])


def odd(column: int, value: float) -> dict[str, np.ndarray]:
    """The row with another value in a column."""
    row = ROW.copy()
    row[0, column] = value
    return {"boxes": row}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"boxes": None}, r"expected an array 'boxes' in .*all.npz, got jpeg, offsets"),
        (
            {"boxes": np.zeros((3, 6))},
            r"boxes in .* must be numbers \(M, 5\), .* or \(M, 7\), .*, got float64 \(3, 6\)",
        ),
        ({"boxes": np.array([["a"] * 5])}, r"boxes in .* must be numbers"),
        ({"boxes": np.zeros((0, 5))}, r"boxes in .* must name at least one object, got none"),
        (odd(0, 20), r"boxes in .* must be of an image in 0..19, .*, got \[20.0, .* row 0"),
        (odd(0, -1), r"boxes in .* must be of an image in 0..19, .*, got \[-1.0"),
        (odd(0, 3.5), r"boxes in .* must be of an image in 0..19, .*, got \[3.5"),
        (odd(2, np.nan), r"boxes in .* finite corners"),
        (odd(5, -1), r"boxes in .* a class from 0 on"),
        (odd(5, 0.5), r"boxes in .* a class from 0 on"),
        (odd(6, 2), r"boxes in .* difficult 0 or 1"),
        ({"boxes": ROW, "classes": np.array(["a"])}, r"expected 2 names of classes for .*, each once, got \['a'\]"),
        ({"classes": np.array(["a", "a"])}, r"expected 1 names of classes for .*, each once, got \['a', 'a'\]"),
        ({"test": np.zeros(3, bool)}, r"test in .* must be bool \(20,\), got bool \(3,\)"),
        ({"test": np.zeros(COUNT, np.uint8)}, r"test in .* must be bool \(20,\), got uint8"),
        ({"test": np.zeros(COUNT, bool)}, r"test in .* must hold out some images, but not all, .*, got 0 of 20"),
        ({"test": np.ones(COUNT, bool)}, r"test in .* must hold out some images, but not all, .*, got 20 of 20"),
        ({"test": HELD, "val": HELD}, r"test in .* must hold out some images, .* none twice, got 5 of 20"),
        ({"jpeg": None}, r"expected an array 'images' in .*, got boxes, offsets"),
        ({"jpeg": np.zeros(99_999, np.uint8)}, r"picture \d+ in .*all.npz cannot be read: .*; the file is damaged"),
        ({"offsets": None}, r"expected an array 'offsets' in"),
        ({"offsets": np.array([0, 9, 5])}, r"offsets in .* must rise from 0 to the \d+ bytes of jpeg"),
        ({"offsets": np.array([0, 10**9])}, r"offsets in .* must rise from 0 to the \d+ bytes of jpeg"),
        ({"offsets": np.array([0.0, 9.0])}, r"jpeg in .* must be uint8 and offsets whole numbers .*, got uint8, float"),
        (
            {"jpeg": None, "images": np.zeros((2, 3, 3, 4), np.uint8)},
            r"images in .* must be uint8 .*, got uint8 \(2, 3",
        ),
        ({"jpeg": None, "images": np.zeros((2, 3, 3, 3))}, r"images in .* must be uint8 .*, got float64"),
        ({"jpeg": None, "images": np.zeros((0, 3, 3, 3), np.uint8)}, r"images in .* must be one or more, got \(0, 3"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changed, message):
    path = save(tmp_path, packed() | changed)
    with pytest.raises(ValueError, match=message):
        load(path, SQUEEZED)


def test_a_cut_off_picture_is_named(tmp_path):
    arrays = packed()
    start, end = arrays["offsets"][4:6]
    arrays["jpeg"] = arrays["jpeg"].copy()
    arrays["jpeg"][start:end] = 0
    with pytest.raises(ValueError, match=r"picture 4 in .*all.npz cannot be read"):
        load(save(tmp_path, arrays), SQUEEZED)


def test_other_files_are_not_taken_for_boxes(tmp_path):
    assert not is_box_file(tmp_path / "gone.npz")
    assert not is_box_file(tmp_path)
    np.savez(tmp_path / "other.npz", images=np.zeros((2, 3, 3, 3), np.uint8), labels=np.zeros(2))
    assert not is_box_file(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("text")
    assert not is_box_file(tmp_path / "text.npz")


PEDESTRIANS = Path(os.environ.get("GOSSAMER_DATA", "")) / "pedestrians" / "pedestrians.npz"


@pytest.mark.skipif(not PEDESTRIANS.is_file(), reason="GOSSAMER_DATA has no pedestrians")
def test_the_pedestrians_are_read_as_they_are_described():
    splits = load(PEDESTRIANS, Preprocess((0.5,) * 3, (0.5,) * 3, 64), classes=("person",))
    assert splits.classes == ("person",)
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (560, 139, 235)
    assert sum(len(s.boxes.rows) for s in (splits.train, splits.selection, splits.test)) == 2411
    check_disjoint(splits.train, splits.selection, splits.test)
    with np.load(PEDESTRIANS) as arrays:
        start, end = arrays["offsets"][-2:]
        last = Image.open(io.BytesIO(arrays["jpeg"][start:end].tobytes()))
        np.testing.assert_allclose(splits.test.boxes.rows[-1, :4], arrays["boxes"][-1, 1:], rtol=1e-6)
    assert splits.test.images.hashes()[-1] == content_hash(np.asarray(last.resize((64, 64), Image.Resampling.BILINEAR)))
