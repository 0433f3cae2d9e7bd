# SPDX-License-Identifier: Apache-2.0
"""Trees of pictures: layouts, decoding in and out of memory, and unreadable files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gossamer.data.folder import FolderImages, load, pictures_in
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import check_disjoint

SMALL = Preprocess((0.5,) * 3, (0.5,) * 3, 16)
COLOURS = {"ant": (255, 0, 0), "bee": (0, 255, 0), "cat": (0, 0, 255)}


def tree(folder: Path, counts: dict[str, int], classes: tuple[str, ...] = ("ant", "bee"), seed: int = 0) -> None:
    """Pictures of 20x16 pixels: noise in the upper half, the colour of the class in the lower half."""
    rng = np.random.default_rng(seed)
    for part, count in counts.items():
        for of in classes:
            (folder / part / of).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
                pixels[8:] = COLOURS[of]
                suffix = ("png", "jpg", "PNG")[index % 3]
                Image.fromarray(pixels).save(folder / part / of / f"{index}.{suffix}")


def colours_match(split: object, classes: tuple[str, ...]) -> bool:
    images = split.images.take(np.arange(len(split)))  # type: ignore[attr-defined,arg-type]
    labels = split.labels.tolist()  # type: ignore[attr-defined]
    return all(
        np.abs(image[14, 8].astype(int) - COLOURS[classes[label]]).max() < 40
        for image, label in zip(images, labels, strict=True)
    )


def test_three_parts_are_the_three_splits(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 4, "val": 3, "test": 2})
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "ant" / "notes.txt").write_text("not a picture")
    splits = load(tmp_path, SMALL)
    assert splits.classes == ("ant", "bee")
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (8, 6, 4)
    assert splits.train.images.shape == (16, 16, 3)
    assert all(colours_match(s, splits.classes) for s in (splits.train, splits.selection, splits.test))


def test_hidden_files_and_folders_with_a_pictures_name_are_no_pictures(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 4, "val": 3, "test": 2})
    there = tmp_path / "train" / "ant"
    (there / "._0.jpg").write_bytes(b"what a system leaves beside a picture")
    (there / ".thumbnails").mkdir()
    (there / ".thumbnails" / "0.jpg").write_bytes((there / "1.jpg").read_bytes())
    (there / "more.png").mkdir()
    assert len(pictures_in(there)) == 4
    assert len(load(tmp_path, SMALL).train) == 8
    (tmp_path / "train" / ".hidden").mkdir()
    assert len(pictures_in(tmp_path / "train")) == 8


def test_without_test_the_validation_part_is_halved(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 2, "val": 10})
    splits = load(tmp_path, SMALL)
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (4, 10, 10)
    check_disjoint(splits.train, splits.selection, splits.test)
    assert colours_match(splits.selection, splits.classes)


def test_class_folders_directly_are_cut_by_content(tmp_path: Path) -> None:
    tree(tmp_path, {".": 20}, ("ant", "bee", "cat"))
    splits = load(tmp_path, SMALL)
    assert (len(splits.train), len(splits.selection), len(splits.test)) == (48, 6, 6)
    assert splits.classes == ("ant", "bee", "cat")
    check_disjoint(splits.train, splits.selection, splits.test)
    assert colours_match(splits.test, splits.classes)


def test_the_same_picture_twice_is_one_example(tmp_path: Path) -> None:
    """A copy under another name and in another format decodes to the same pixels, so it cannot be split off."""
    tree(tmp_path, {".": 10})
    for source in sorted((tmp_path / "ant").glob("*.png")):
        Image.open(source).save(source.with_name(f"copy_of_{source.stem}.bmp"))
    splits = load(tmp_path, SMALL)
    hashes = Counter(h for s in (splits.train, splits.selection, splits.test) for h in s.images.hashes())
    assert max(hashes.values()) == 2
    check_disjoint(splits.train, splits.selection, splits.test)


@pytest.mark.parametrize("room", [0, 3, 1000])
def test_images_are_the_same_with_any_room_and_decoded_once_where_kept(
    tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree(tmp_path, {".": 5})
    files = tuple(sorted(p for p in tmp_path.rglob("*") if p.is_file()))
    decoded: list[Path] = []
    plain = FolderImages._decode

    def counting(self: FolderImages, index: int) -> np.ndarray:
        decoded.append(self.files[index])
        return plain(self, index)

    monkeypatch.setattr(FolderImages, "_decode", counting)
    images = FolderImages(files, SMALL, limit_bytes=room * 16 * 16 * 3)
    order = np.array([3, 0, 3, 9, 1])
    first = images.take(order)
    expected = np.stack([SMALL.fit(Image.open(files[i])) for i in order])
    np.testing.assert_array_equal(first, expected)
    assert len(decoded) == 4  # one of them was asked for twice
    np.testing.assert_array_equal(images.take(order), expected)
    assert len(decoded) == 4 + (4 - min(room, 4))
    assert len(images.hashes()) == 10


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    tree(tmp_path, {".": 5})
    seen: list[tuple[int, int]] = []
    load(tmp_path, SMALL, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (10, 10)


@pytest.mark.parametrize("content", [b"", b"this is text", b"\xff\xd8\xff\xe0 cut off"])
def test_an_unreadable_picture_is_named(tmp_path: Path, content: bytes) -> None:
    tree(tmp_path, {".": 3})
    (tmp_path / "bee" / "broken.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read the image .*bee/broken.jpg: .*; replace or delete it"):
        load(tmp_path, SMALL)


def test_a_truncated_picture_is_named(tmp_path: Path) -> None:
    tree(tmp_path, {".": 3})
    path = tmp_path / "ant" / "1.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"cannot read the image .*ant/1.jpg"):
        load(tmp_path, SMALL)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no folder .*gone; check --data"):
        load(tmp_path / "gone", SMALL)


def test_one_class_is_not_a_classification(tmp_path: Path) -> None:
    tree(tmp_path, {".": 3}, ("ant",))
    with pytest.raises(ValueError, match=r"at least two classes, got \['ant'\]"):
        load(tmp_path, SMALL)


def test_an_empty_class_and_an_empty_part_are_named(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 1, "val": 1})
    (tmp_path / "train" / "cat").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*train/cat has no images"):
        load(tmp_path, SMALL)
    (tmp_path / "train" / "cat").rmdir()
    (tmp_path / "test" / "ant").mkdir(parents=True)
    with pytest.raises(ValueError, match=r".*test has no images; add some or delete the folder"):
        load(tmp_path, SMALL)


def test_a_class_that_is_only_held_out_is_named(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 1, "val": 1, "test": 1})
    tree(tmp_path, {"val": 1}, ("cat",))
    message = r"expected images of class 'cat' in .*train/cat, got that class only in .*val/cat; add images to train on"
    with pytest.raises(ValueError, match=message):
        load(tmp_path, SMALL)


def test_progress_counts_the_pictures_of_all_parts_together(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 3, "val": 2, "test": 1})
    seen: list[tuple[int, int]] = []
    splits = load(tmp_path, SMALL, progress=lambda done, total: seen.append((done, total)))
    check_disjoint(splits.train, splits.selection, splits.test)
    assert seen == [(4, 12), (10, 12), (12, 12)]


def test_training_images_alone_are_not_enough(tmp_path: Path) -> None:
    tree(tmp_path, {"train": 3})
    with pytest.raises(ValueError, match=r"images held out, got only \['train'\]"):
        load(tmp_path, SMALL)
