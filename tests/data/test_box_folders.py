# SPDX-License-Identifier: Apache-2.0
"""Pictures with XML files: the layouts of VOC and others, corners, classes, and annotations that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gossamer.data.annotated import arrange_boxes
from gossamer.data.box_folders import as_given, is_box_folder
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import check_disjoint


def load(*args, **options):
    """Splits, as a run has them."""
    return arrange_boxes(as_given(*args, **options))


SQUEEZED = Preprocess((0.5,) * 3, (0.5,) * 3, (30, 40))
WIDE, HIGH = 80, 60
BOX = """<object><name>{}</name><difficult>{}</difficult><bndbox>
<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"""


def xml(*objects: tuple, size: tuple[int, int] = (WIDE, HIGH)) -> str:
    """An annotation; objects are (name, difficult, xmin, ymin, xmax, ymax)."""
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>{stated}{''.join(BOX.format(*of) for of in objects)}</annotation>"


def write(annotations: Path, pictures: Path, name: str, *objects: tuple, size: tuple[int, int] = (WIDE, HIGH)) -> None:
    """Noise with each object as a white area; without any given, a dog whose place follows from the name."""
    for folder in (annotations, pictures):
        folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(name.encode()))
    if not objects:
        left, top = rng.integers(1, WIDE - 40), rng.integers(1, HIGH - 30)
        objects = (("dog", 0, left, top, left + 29, top + 19),)
    pixels = rng.integers(0, 60, (HIGH, WIDE, 3), dtype=np.uint8)
    for _, _, left, top, right, bottom in objects:
        pixels[max(0, top - 1) : bottom, max(0, left - 1) : right] = 255
    Image.fromarray(pixels).save(pictures / f"{name}.png")
    (annotations / f"{name}.xml").write_text(xml(*objects, size=size))


def voc(root: Path, lists: dict[str, list[str]], *more: str) -> Path:
    """A folder as VOC2007 is, with these official lists and these further images."""
    for name in dict.fromkeys([name for names in lists.values() for name in names] + list(more)):
        write(root / "Annotations", root / "JPEGImages", name)
    (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    for part, names in lists.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join([*names, ""]))
        (root / "ImageSets" / "Main" / f"dog_{part}.txt").write_text("\n".join(f"{name}  1" for name in names))
    return root


def beside(folder: Path, *names: str) -> None:
    for name in names:
        write(folder, folder, name)


def pictures_of(split) -> list[str]:
    return [split.images.source.files[index].stem for index in split.images.indices]


def sizes(splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.selection), len(splits.test)


def fits(split) -> bool:
    """Whether what is white in each image is its boxes, but for an edge."""
    images, truth = split.images.take(np.arange(len(split))), split.boxes.take(np.arange(len(split)))
    for image, rows in zip(images, truth, strict=True):
        inside = np.zeros(image.shape[:2], bool)
        edge = np.zeros(image.shape[:2], bool)
        for x1, y1, x2, y2 in rows[rows[:, 4] >= 0, :4] * np.array([40, 30, 40, 30]):
            edge[max(0, int(y1) - 1) : int(y2) + 2, max(0, int(x1) - 1) : int(x2) + 2] = True
            inside[int(y1) + 2 : int(y2) - 1, int(x1) + 2 : int(x2) - 1] = True
        white = image.min(2) > 200
        if not (white[inside].all() and not white[~edge].any()):
            return False
    return True


LISTS = {"train": ["a1", "a2", "a3"], "val": ["b1", "b2"], "trainval": ["a1", "a2", "a3", "b1", "b2"], "test": ["c1"]}


@pytest.mark.parametrize("root", ["", "VOC2007", "VOCdevkit/VOC2007", "VOCtrainval_06-Nov-2007/VOCdevkit/VOC2007"])
def test_official_lists_are_followed_wherever_voc_was_unpacked(tmp_path, root):
    voc(tmp_path / root, LISTS, "unlisted")
    assert is_box_folder(tmp_path)
    splits = load(tmp_path, SQUEEZED)
    assert pictures_of(splits.train) == ["a1", "a2", "a3"]
    assert pictures_of(splits.selection) == ["b1", "b2"]
    assert pictures_of(splits.test) == ["c1"]
    assert splits.classes == ("dog",)
    assert splits.notes == ()
    assert splits.train.images.shape == (30, 40, 3)
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        (("trainval", "train", "test"), (3, 2, 1)),
        (("trainval", "val", "test"), (3, 2, 1)),
        (("trainval", "test"), (4, 1, 1)),
        (("train", "test"), (3, 0, 1)),
        (("train", "val"), (3, 1, 1)),
    ],
)
def test_lists_that_are_missing_follow_from_the_others(tmp_path, lists, expected):
    splits = load(voc(tmp_path, {name: LISTS[name] for name in lists}), SQUEEZED)
    assert sizes(splits) == expected
    check_disjoint(splits.train, splits.selection, splits.test)
    if lists == ("trainval", "test"):
        assert splits.notes == (
            "selection is 1 images of the training set, chosen by content hash and not trained on; the test set of "
            f"{tmp_path} is whole",
        )


def test_years_are_one_data_set_and_a_test_without_annotations_is_left_out(tmp_path):
    voc(tmp_path / "VOCdevkit" / "VOC2007", LISTS)
    other = voc(tmp_path / "VOCdevkit" / "VOC2012", {"train": ["d1", "d2"], "val": ["e1"]})
    (other / "ImageSets" / "Main" / "test.txt").write_text("f1\nf2\n")
    splits = load(tmp_path, SQUEEZED)
    assert pictures_of(splits.train) == ["a1", "a2", "a3", "d1", "d2"]
    assert sizes(splits) == (5, 3, 1)
    assert "VOC2012/ImageSets/Main have no annotations and are left out" in splits.notes[0]


@pytest.mark.parametrize("folders", [("Annotations", "JPEGImages"), ("annotations", "images")])
def test_without_lists_images_are_cut_by_content(tmp_path, folders):
    for number in range(20):
        write(tmp_path / folders[0], tmp_path / folders[1], f"n{number}")
    assert is_box_folder(tmp_path)
    splits = load(tmp_path, SQUEEZED)
    assert sizes(splits) == (16, 2, 2)
    assert "came unsplit" in splits.notes[0]
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))


@pytest.mark.parametrize("valid", ["val", "valid"])
def test_parts_with_pictures_beside_their_annotations(tmp_path, valid):
    beside(tmp_path / "train", "a.jpg.rf.1", "a.2", "a3")
    beside(tmp_path / valid, "b1", "b2")
    write(tmp_path / "test" / "Annotations", tmp_path / "test" / "JPEGImages", "c1")
    (tmp_path / "train" / "._a3.xml").write_bytes(b"\0")  # what some systems leave beside a file
    assert is_box_folder(tmp_path)
    splits = load(tmp_path, SQUEEZED)
    assert sizes(splits) == (3, 2, 1)
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))


def test_one_folder_of_pictures_and_annotations(tmp_path):
    beside(tmp_path, *(f"n{number}" for number in range(10)))
    assert is_box_folder(tmp_path)
    assert sizes(load(tmp_path, SQUEEZED)) == (8, 1, 1)


def three(tmp_path: Path, *objects: tuple, **options) -> Path:
    """Parts of two dogs each, and one picture more to train on."""
    for part in ("train", "val", "test"):
        beside(tmp_path / part, f"{part}1", f"{part}2")
    write(tmp_path / "train", tmp_path / "train", "a", *objects, **options)
    return tmp_path


def test_corners_count_pixels_from_one_and_both_ends(tmp_path):
    three(tmp_path, ("cat", 1, 1, 1, WIDE, HIGH), ("dog", 0, 21, 7, 40, 30), ("ant", 0, 5, 5, 5, 5))
    splits = load(tmp_path, SQUEEZED)
    assert splits.classes == ("ant", "cat", "dog")
    np.testing.assert_allclose(
        splits.train.boxes.take(np.array([0]))[0],
        [[0, 0, 1, 1, 1, 1], [0.25, 0.1, 0.5, 0.5, 2, 0], [0.05, 4 / 60, 0.0625, 5 / 60, 0, 0]],
        rtol=1e-6,
    )
    assert splits.notes == ()


def test_only_some_classes(tmp_path):
    three(tmp_path, ("dog", 1, 60, 1, 70, 9), ("cat", 0, 1, 1, 20, 20), ("ant", 1, 30, 30, 50, 50))
    write(tmp_path / "val", tmp_path / "val", "cat", ("cat", 0, 5, 5, 20, 20))
    splits = load(tmp_path, SQUEEZED, classes=("cat", "ant"))
    assert splits.classes == ("cat", "ant")
    assert splits.train.boxes.rows[:, 4:].tolist() == [[0, 0], [1, 1]]
    assert splits.train.boxes.counts.tolist() == [2, 0, 0]
    assert sizes(splits) == (3, 3, 2), "images without such objects stay"
    assert splits.notes == (
        "images without an object of the classes, kept: 2 of 3 in train, 2 of 3 in selection, 2 of 2 in test",
    )
    with pytest.raises(ValueError, match=r"expected a class of .*, got 'catt'; did you mean cat\?; it has ant, cat, d"):
        load(tmp_path, SQUEEZED, classes=("ant", "catt"))
    for wrong in ((), ("cat", "cat")):
        with pytest.raises(ValueError, match="expected one or more classes, each once, got"):
            load(tmp_path, SQUEEZED, classes=wrong)


def test_what_reaches_out_is_cut_what_is_outside_left_out_and_the_picture_knows_its_size(tmp_path):
    objects = [("dog", 0, 41, 1, 120, 200), ("dog", 0, 0, 1, WIDE + 1, 30), ("dog", 0, 200, 200, 220, 220)]
    three(tmp_path, *objects, ("dog", 0, 20, 5, 10, 9), size=(HIGH, WIDE))
    splits = load(tmp_path, SQUEEZED)
    np.testing.assert_array_equal(
        splits.train.boxes.take(np.array([0]))[0], [[0.5, 0, 1, 1, 0, 0], [0, 0, 1, 0.5, 0, 0]]
    )
    assert splits.notes == (
        "boxes that reach out of their pictures, cut at the border: 1",
        f"boxes without an area in their pictures, left out: 2, the first in {tmp_path}/train/a.xml",
        "annotations that state another size than their pictures have: 1, the first 60x80 beside 80x60 in "
        f"{tmp_path}/train/a.xml; the size of the picture counts",
    )


@pytest.mark.parametrize("size", [(0, 0), ("", ""), ("wide", 3)])
def test_a_size_that_says_nothing_is_none(tmp_path, size):
    assert load(three(tmp_path, ("dog", 0, 1, 1, 40, 30), size=size), SQUEEZED).notes == ()


LAUGHS = "<!DOCTYPE a [<!ENTITY a '{}'>]><annotation><object><name>&a;</name></object></annotation>".format("ha" * 99)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (LAUGHS.encode(), r"expected XML in UTF-8 without a document type \(<!DOCTYPE\), got other in .*a.xml"),
        (LAUGHS.encode("utf-16"), r"expected XML in UTF-8 without a document type"),
        (b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><annotation/>", "without a document type"),
        (b"", r"expected XML, but .*a.xml cannot be read: no element found"),
        (b"<annotation>", r"expected XML, but .*a.xml cannot be read"),
        (b"<annotation>&a;</annotation>", r"expected XML, but .*a.xml cannot be read: undefined entity"),
        (b'<?xml version="1.0" encoding="nothing"?><annotation/>', r"expected XML, but .*a.xml cannot be read"),
        (b'<?xml version="1.0" encoding="gbk"?><annotation/>', r"expected XML, but .*a.xml cannot be read"),
        (b"\xff\xfe<annotation/>", r"expected XML, but .*a.xml cannot be read"),
        (b"<svg/>", r"expected an <annotation> as PASCAL VOC has it, got <svg> in .*a.xml"),
        (b"<annotation><object><name>dog</name></object></annotation>", r"expected a name and a bndbox in every obj"),
        (xml((" ", 0, 1, 1, 2, 2)).encode(), r"expected a name and a bndbox in every object, got one without in .*a."),
        (xml(("dog", 0, "x", 1, 2, 2)).encode(), r"expected a number of pixels as xmin, got 'x' in .*a.xml"),
        (xml(("dog", 0, 1, 1, 2, "inf")).encode(), r"expected a number of pixels as ymax, got 'inf'"),
        (xml(("dog", 0, 1, 1, "", 2)).encode(), r"expected a number of pixels as xmax, got ''"),
    ],
)
def test_broken_and_hostile_annotations_are_refused(tmp_path, content, message):
    (three(tmp_path) / "train" / "a.xml").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, SQUEEZED)


def test_deeply_nested_elements_are_survived(tmp_path):
    deep = b"<b>" * 100_000 + b"</b>" * 100_000
    (three(tmp_path) / "train" / "a.xml").write_bytes(b"<annotation>" + deep + b"</annotation>")
    assert load(tmp_path, SQUEEZED).train.boxes.counts.tolist() == [0, 1, 1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_a_damaged_annotation_is_read_or_named(tmp_path, seed):
    """Bytes exchanged at random: a ValueError of one line, or splits; nothing else."""
    rng = np.random.default_rng(seed)
    if not (tmp_path / "test").exists():
        three(tmp_path)
    good = xml(("dog", 0, 5, 5, 20, 20), ("cat", 1, 1, 1, 9, 9)).encode()
    data = bytearray(good)
    for _ in range(rng.integers(1, 4)):
        data[rng.integers(len(data))] = rng.integers(256)
    (tmp_path / "train" / "a.xml").write_bytes(bytes(data[: rng.integers(1, len(data) + 1)] if seed % 3 else data))
    said = "a.xml"
    try:
        load(tmp_path, SQUEEZED)
    except ValueError as error:
        said = str(error)
    assert "a.xml" in said


def test_pictures_and_annotations_that_lack_each_other_are_named(tmp_path):
    three(tmp_path)
    (tmp_path / "val" / "val1.xml").rename(tmp_path / "val" / "other.xml")
    with pytest.raises(
        ValueError, match=r"expected an annotation for .*val/val1.png, found no .*val1.xml \(1 such pic"
    ):
        load(tmp_path, SQUEEZED)
    (tmp_path / "val" / "val1.png").unlink()
    with pytest.raises(ValueError, match=r"expected a picture for .*val/other.xml, found no .*val/other.jpg"):
        load(tmp_path, SQUEEZED)
    Image.new("RGB", (4, 4)).save(tmp_path / "val" / "val2.jpg")
    with pytest.raises(ValueError, match=r"expected one file of a name, got .*val2.jpg and .*val2.png; delete one"):
        load(tmp_path, SQUEEZED)


def test_listed_images_without_annotations_or_pictures_are_named(tmp_path):
    voc(tmp_path, LISTS)
    (tmp_path / "Annotations" / "b2.xml").unlink()
    with pytest.raises(
        ValueError, match=r"expected an annotation .*Annotations/b2.xml, which is in the lists of .*Main"
    ):
        load(tmp_path, SQUEEZED)
    write(tmp_path / "Annotations", tmp_path / "JPEGImages", "b2")
    (tmp_path / "JPEGImages" / "a1.png").unlink()
    with pytest.raises(ValueError, match=r"expected a picture for .*Annotations/a1.xml, found no .*JPEGImages/a1.jpg"):
        load(tmp_path, SQUEEZED)


def test_an_unreadable_picture_is_named(tmp_path):
    (three(tmp_path) / "train" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"cannot read the image .*train/a.png: .*; replace or delete it"):
        load(tmp_path, SQUEEZED)
    whole = (tmp_path / "train" / "train1.png").read_bytes()
    (tmp_path / "train" / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot read the image .*train/a.png"):
        load(tmp_path, SQUEEZED).train.images.hashes()


def test_folders_of_other_things_are_not_taken_for_boxes(tmp_path):
    assert not is_box_folder(tmp_path / "gone")
    assert not is_box_folder(tmp_path)
    (tmp_path / "train" / "ant").mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(tmp_path / "train" / "ant" / "a.png")
    for name in ("same.png", "same.bmp"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    assert not is_box_folder(tmp_path)
    (tmp_path / "same.bmp").unlink()
    (tmp_path / "notes.xml").write_text("<notes/>")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    assert not is_box_folder(tmp_path)
    with pytest.raises(
        ValueError, match=r"expected .*/Annotations/\*.xml and .*/JPEGImages/\*.jpg, or pictures beside"
    ):
        load(tmp_path, SQUEEZED)
    with pytest.raises(ValueError, match=r"there is no folder .*gone; check --data"):
        load(tmp_path / "gone", SQUEEZED)


def test_pictures_of_no_part_are_refused_and_so_is_training_alone(tmp_path):
    beside(tmp_path / "train", "a1", "a2")
    with pytest.raises(ValueError, match=r"images held out, got only \['train'\]"):
        load(tmp_path, SQUEEZED)
    beside(tmp_path, "b1")
    with pytest.raises(ValueError, match=r"has pictures of no part beside those in train; delete them or give them"):
        load(tmp_path, SQUEEZED)


def test_without_any_object_there_is_no_detection(tmp_path):
    three(tmp_path)
    for file in tmp_path.rglob("*.xml"):
        file.write_text("<annotation/>")
    with pytest.raises(ValueError, match=r"expected objects in .*, found none"):
        load(tmp_path, SQUEEZED)


def test_progress_counts_the_pictures_of_all_parts(tmp_path):
    seen: list[tuple[int, int]] = []
    splits = load(three(tmp_path), SQUEEZED, progress=lambda done, total: seen.append((done, total)))
    check_disjoint(splits.train, splits.selection, splits.test)
    assert seen == [(7, 7)]


@pytest.mark.parametrize("room", [0, 2, 100])
@pytest.mark.parametrize("size", [20, (90, 70)])
def test_images_are_whole_pictures_with_any_room_in_memory(tmp_path, room, size):
    preprocess = replace(SQUEEZED, size=size)
    train = load(three(tmp_path), preprocess, limit_bytes=room * 20 * 20 * 3).train
    order = np.array([2, 0, 2])
    expected = [preprocess.squeeze(Image.open(train.images.source.files[i])) for i in order]
    for _ in range(2):
        np.testing.assert_array_equal(train.images.take(order), expected)
