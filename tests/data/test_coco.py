# SPDX-License-Identifier: Apache-2.0
"""Pictures with one JSON file for all: the layouts of COCO and Roboflow, ids, corners, and files that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gossamer.data.annotated import arrange_boxes
from gossamer.data.coco import as_given, is_coco
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import check_disjoint


def load(*args, **options):
    """Splits, as a run has them."""
    return arrange_boxes(as_given(*args, **options))


SQUEEZED = Preprocess((0.5,) * 3, (0.5,) * 3, (30, 40))
WIDE, HIGH = 80, 60
CATEGORIES = [
    {"id": 18, "name": "dog", "supercategory": "animal"},
    {"id": 3, "name": "car", "supercategory": "vehicle"},
    {"id": 90, "name": "hair drier", "supercategory": "indoor"},
]


def content(folder: Path, names: list[str], first_id: int = 0) -> dict[str, Any]:
    """Pictures of noise, each with a white dog; ids of images do not begin at 0, annotations are in no order."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number, name in enumerate(names):
        rng = np.random.default_rng(list(f"{folder.name}/{name}".encode()))
        pixels = rng.integers(0, 60, (HIGH, WIDE, 3), dtype=np.uint8)
        left, top = (int(v) for v in rng.integers(0, 40, 2))
        pixels[top : top + 20, left : left + 30] = 255
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
        image = 100 + first_id + 7 * number
        images.append({"id": image, "file_name": name, "width": WIDE, "height": HIGH})
        box = [left, top, min(30, WIDE - left), min(20, HIGH - top)]
        annotations.append({"id": number, "image_id": image, "category_id": 18, "bbox": box, "iscrowd": 0})
    return {"images": images, "annotations": annotations[::-1], "categories": list(CATEGORIES)}


def downloaded(root: Path, pictures: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """As COCO is unpacked: 4 images to train on and 6 held out."""
    train = content(root / pictures / "train2017", [f"{n:012}.png" for n in range(4)])
    val = content(root / pictures / "val2017", [f"{n:012}.png" for n in range(6)])
    (root / "annotations").mkdir()
    save(root, train, val)
    (root / "annotations" / "captions_train2017.json").write_text("{}")
    return train, val


def save(root: Path, train: dict[str, Any], val: dict[str, Any]) -> None:
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(train))
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(val))


def sizes(splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.selection), len(splits.test)


def fits(split) -> bool:
    """Whether the middle of each image's first box is white, and little of the rest."""
    images, truth = split.images.take(np.arange(len(split))), split.boxes.take(np.arange(len(split)))[:, 0]
    middle = ((truth[:, :2] + truth[:, 2:4]) / 2 * [40, 30]).astype(int)
    area = (truth[:, 2] - truth[:, 0]) * (truth[:, 3] - truth[:, 1])
    white = (images.min(3) > 160).mean((1, 2))
    return bool(
        (np.abs(white - area) < 0.05).all()
        and all((image[y, x] == 255).all() for image, (x, y) in zip(images, middle, strict=True))
    )


@pytest.mark.parametrize("pictures", ["", "images"])
def test_coco_as_downloaded(tmp_path, pictures):
    downloaded(tmp_path, pictures)
    assert is_coco(tmp_path)
    splits = load(tmp_path, SQUEEZED)
    assert sizes(splits) == (4, 3, 3)
    assert "one held-out part, 'val': halved by content hash" in splits.notes[0]
    assert splits.classes == ("car", "dog", "hair drier"), "in the order of ids"
    assert splits.train.images.shape == (30, 40, 3)
    assert (splits.train.boxes.rows[:, 4] == 1).all()
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))
    check_disjoint(splits.train, splits.selection, splits.test)


def roboflow(root: Path, **parts: int) -> Path:
    for part, count in parts.items():
        found = content(root / part, [f"{part}{n}_png.rf.0.png" for n in range(count)])
        found["categories"] = [
            {"id": 0, "name": "pets", "supercategory": "none"},
            {"id": 18, "name": "dog", "supercategory": "pets"},
        ]
        (root / part / "_annotations.coco.json").write_text(json.dumps(found))
    return root


def test_three_parts_as_roboflow_writes_them(tmp_path):
    assert is_coco(roboflow(tmp_path, train=5, valid=3, test=2))
    splits = load(tmp_path, SQUEEZED)
    assert sizes(splits) == (5, 3, 2)
    assert splits.classes == ("dog",), "the heading is no class"
    assert splits.notes == ()
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))


def test_a_class_that_has_objects_and_kinds_is_a_class(tmp_path):
    train, val = downloaded(tmp_path)
    for part in (train, val):
        part["categories"][1] = {"id": 3, "name": "poodle", "supercategory": "dog"}
    save(tmp_path, train, val)
    assert load(tmp_path, SQUEEZED).classes == ("poodle", "dog", "hair drier")


def test_a_test_set_that_comes_alone_stays_whole(tmp_path):
    splits = load(roboflow(tmp_path, train=10, test=3), SQUEEZED)
    assert sizes(splits) == (8, 2, 3)
    assert splits.notes[0].endswith(f"not trained on; the test set of {tmp_path} is whole")


@pytest.mark.parametrize("place", ["", "images", "data"])
@pytest.mark.parametrize("of_file", [True, False])
def test_one_file_beside_its_pictures(tmp_path, place, of_file):
    found = content(tmp_path / place, [f"{n}.png" for n in range(9)] + ["more/9.png"])
    (tmp_path / "labels.json").write_text(json.dumps(found))
    path = tmp_path / "labels.json" if of_file else tmp_path
    assert is_coco(path)
    splits = load(path, SQUEEZED)
    assert sizes(splits) == (8, 1, 1)
    assert all(fits(split) for split in (splits.train, splits.selection, splits.test))


def test_corners_crowds_and_images_without_objects(tmp_path):
    train, val = downloaded(tmp_path)
    first, second = (image["id"] for image in train["images"][:2])
    train["annotations"] = [
        {"id": 1, "image_id": first, "category_id": 3, "bbox": [20.5, 15, 40, 30], "iscrowd": 1},
        {"id": 2, "image_id": first, "category_id": 90, "bbox": [0, 0, WIDE, HIGH]},
        {"id": 3, "image_id": second, "category_id": 18, "bbox": [70, 50, 30, 5.5], "iscrowd": 0},
        {"id": 4, "image_id": second, "category_id": 18, "bbox": [10, 10, 0, 5], "iscrowd": 0},
    ]
    save(tmp_path, train, val)
    splits = load(tmp_path, SQUEEZED)
    truth = splits.train.boxes.take(np.arange(4))
    np.testing.assert_allclose(truth[0], [[20.5 / 80, 0.25, 60.5 / 80, 0.75, 0, 1], [0, 0, 1, 1, 2, 0]], rtol=1e-6)
    np.testing.assert_allclose(truth[1, 0], [70 / 80, 50 / 60, 1, 55.5 / 60, 1, 0], rtol=1e-6)
    assert splits.train.boxes.counts.tolist() == [2, 1, 0, 0]
    assert splits.notes[1:] == (
        "images without an object of the classes, kept: 2 of 4 in train",
        "boxes that reach out of their pictures, cut at the border: 1",
        f"boxes without an area in their pictures, left out: 1, the first in {tmp_path}/annotations/"
        "instances_train2017.json",
    )


def test_only_some_classes(tmp_path):
    train, val = downloaded(tmp_path)
    train["annotations"][0]["category_id"] = 3
    save(tmp_path, train, val)
    splits = load(tmp_path, SQUEEZED, classes=("hair drier", "car"))
    assert splits.classes == ("hair drier", "car")
    assert splits.train.boxes.rows[:, 4].tolist() == [1]
    assert sizes(splits) == (4, 3, 3)
    assert "kept: 3 of 4 in train, 3 of 3 in selection, 3 of 3 in test" in splits.notes[1]
    with pytest.raises(ValueError, match=r"expected a class of .*, got 'hair dryer'; did you mean hair drier\?"):
        load(tmp_path, SQUEEZED, classes=("hair dryer",))


def test_the_size_of_the_picture_counts(tmp_path):
    train, val = downloaded(tmp_path)
    train["images"][0] |= {"width": 2 * WIDE, "height": 2 * HIGH}
    del train["images"][1]["width"]
    save(tmp_path, train, val)
    splits = load(tmp_path, SQUEEZED)
    assert fits(splits.train)
    assert "another size than their pictures have: 1, the first 160x120 beside 80x60 in" in splits.notes[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected JSON, but .*instances_train2017.json cannot be read: Expecting value"),
        ("{", r"expected JSON, but .* cannot be read"),
        ("[" * 100_000, r"expected JSON, but .* cannot be read"),
        ("[]", r"expected an object with the lists images, annotations, categories, got other in"),
        ('{"images": [], "annotations": {}, "categories": []}', r"expected an object with the lists images, ann"),
        ('{"images": [3], "annotations": [], "categories": []}', r"expected objects in the list images of .*, got 3"),
    ],
)
def test_files_of_something_else_are_refused(tmp_path, text, message):
    downloaded(tmp_path)
    (tmp_path / "annotations" / "instances_train2017.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, SQUEEZED)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("images", {"id": "7"}, r"expected a whole number as id, got '7' in .*train2017.json"),
        ("images", {"id": 107}, r"expected an id of its own for each image, got 4 with 3 in"),
        ("images", {"file_name": None}, r"expected a text as file_name, got None in"),
        ("images", {"file_name": "gone.png"}, r"expected a picture .*/train2017/gone.png, named in .*, found none"),
        ("annotations", {"image_id": 5}, r"expected ids of images and categories of the same file, got image_id 5 in"),
        ("annotations", {"category_id": 1}, r"expected ids of images .*, got category_id 1 in"),
        ("annotations", {"category_id": True}, r"expected a whole number as category_id, got True in"),
        ("annotations", {"bbox": [1, 2, 3]}, r"expected bbox as four numbers, .*, got \[1, 2, 3\] in annotation 3 of"),
        ("annotations", {"bbox": None}, r"expected bbox as four numbers, .*, got None in annotation 3 of"),
        ("annotations", {"bbox": [1, 2, 3, "x"]}, r"expected bbox as four numbers"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, r"expected bbox as four numbers"),
        ("annotations", {"bbox": [1, 2, 3, 10**400]}, r"expected bbox as four numbers"),
        ("categories", {"name": 3}, r"expected a text as name, got 3 in"),
    ],
)
def test_entries_that_do_not_fit_are_named(tmp_path, key, change, message):
    train, val = downloaded(tmp_path)
    train[key][0] = train[key][0] | change
    save(tmp_path, train, val)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, SQUEEZED)


def test_parts_with_other_categories_or_two_files_are_refused(tmp_path):
    train, val = downloaded(tmp_path)
    val["categories"] = [{"id": 18, "name": "cat"}, *CATEGORIES[1:]]
    save(tmp_path, train, val)
    with pytest.raises(ValueError, match=r"expected the same categories in all parts of .*, got others in .*val2017"):
        load(tmp_path, SQUEEZED)
    (tmp_path / "annotations" / "instances_train2014.json").write_text(json.dumps(train))
    (tmp_path / "train2014").symlink_to(tmp_path / "train2017")
    with pytest.raises(ValueError, match=r"expected one file of 'train' in .*, got another in .*instances_train2017"):
        load(tmp_path, SQUEEZED)


def test_other_folders_and_files_are_not_taken_for_coco(tmp_path):
    assert not is_coco(tmp_path / "gone")
    assert not is_coco(tmp_path)
    (tmp_path / "settings.json").write_text('{"images": 3}')
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "empty.json").write_text("")
    assert not is_coco(tmp_path)
    assert not is_coco(tmp_path / "settings.json")
    with pytest.raises(
        ValueError, match=r"expected .*/annotations/instances_train\*.json, or .*_annotations.coco.json"
    ):
        load(tmp_path, SQUEEZED)


def test_progress_counts_the_pictures_of_all_parts(tmp_path):
    seen: list[tuple[int, int]] = []
    load(roboflow(tmp_path, train=5, test=2), SQUEEZED, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(7, 7)]
