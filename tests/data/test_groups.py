# SPDX-License-Identifier: Apache-2.0
"""Groups of images: named in arrays or in a sheet, never cut in two, and one sentence for every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gossamer.data import arrays, folder, loose
from gossamer.data.groups import groups_of, in_groups
from gossamer.data.images import ArrayImages, Split
from gossamer.data.preprocess import Preprocess

N = 60
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(N) % 3
GROUPS = np.array([f"patient {index // 5}" for index in range(N)])
PREPROCESS = Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3, size=8)


def of(split: Split) -> set[str]:
    return set(groups_of(split) or ())


def save(path: Path, **given: Any) -> Path:
    np.savez(path, **given)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A tree of class folders, and groups.csv."""
    lines = ["image,group"]
    for index in range(N):
        path = tmp_path / "tree" / f"class {LABELS[index]}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[index]).save(path)
        lines.append(f"class {LABELS[index]}/{index}.png,{GROUPS[index]}")
    (tmp_path / "tree" / "groups.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "tree"


def test_the_group_of_each_image_is_kept_through_every_choice() -> None:
    split = in_groups(Split("all", ArrayImages(IMAGES), LABELS), GROUPS.tolist())
    assert groups_of(split) == GROUPS.tolist()
    assert groups_of(split.subset(np.array([59, 0, 31]), "some").renamed("few")) == [GROUPS[59], GROUPS[0], GROUPS[31]]
    assert groups_of(Split("all", ArrayImages(IMAGES), areas=np.arange(N)))[:2] == ["0", "1"]
    assert groups_of(Split("all", ArrayImages(IMAGES))) is None


@pytest.mark.parametrize("groups", [GROUPS, np.arange(N) // 5, (np.arange(N) // 5).reshape(-1, 1)], ids=str)
def test_arrays_that_come_unsplit_are_cut_between_groups(groups: np.ndarray, tmp_path: Path) -> None:
    splits = arrays.load(save(tmp_path / "a.npz", images=IMAGES, labels=LABELS, groups=groups))
    parts = [of(split) for split in (splits.train, splits.selection, splits.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 12
    assert all(parts)
    assert "groups for training" in splits.notes[0]


def test_one_held_out_part_is_halved_between_groups(tmp_path: Path) -> None:
    path = save(
        tmp_path / "a.npz",
        **{"train_x": IMAGES[:30], "train_y": LABELS[:30], "x_val": IMAGES[30:], "y_val": LABELS[30:]},
        val_groups=GROUPS[30:],
    )
    splits = arrays.load(path)
    assert of(splits.selection)
    assert of(splits.test)
    assert not of(splits.selection) & of(splits.test)
    assert splits.train.areas is None, "those of the training images are not needed"


def test_files_of_one_split_join_their_groups(tmp_path: Path) -> None:
    for name, part in {"train-0": slice(0, 20), "train-1": slice(20, 40), "test": slice(40, N)}.items():
        save(tmp_path / f"{name}.npz", images=IMAGES[part], labels=LABELS[part], groups=GROUPS[part])
    splits = arrays.load(tmp_path)
    assert groups_of(splits.train) == GROUPS[:40].tolist()
    save(tmp_path / "train-1.npz", images=IMAGES[20:40], labels=LABELS[20:40])
    with pytest.raises(ValueError, match="the group of each image of 'train', or of none, got them from some files"):
        arrays.load(tmp_path)


def test_a_group_that_its_maker_has_cut_is_noted(tmp_path: Path) -> None:
    given = {}
    for name, part in {"train": slice(0, 22), "val": slice(22, 40), "test": slice(40, N)}.items():
        given |= {f"{name}_x": IMAGES[part], f"{name}_y": LABELS[part], f"{name}_groups": GROUPS[part]}
    (note,) = arrays.load(save(tmp_path / "a.npz", **given)).notes
    assert note.startswith("splits 'train' and 'selection' share the groups 'patient 4': what 'selection' says is not")


def test_pictures_are_cut_between_the_groups_of_the_sheet(pictures: Path) -> None:
    splits = folder.load(pictures, PREPROCESS)
    parts = [of(split) for split in (splits.train, splits.selection, splits.test)]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 12
    names = tuple(f"class {number}" for number in range(3))
    assert sorted(groups_of(loose.labelled(pictures, PREPROCESS, names)) or ()) == sorted(GROUPS.tolist())
    found = loose.labelled(save(pictures / "a.npz", images=IMAGES, labels=LABELS, groups=GROUPS), PREPROCESS, names)
    assert groups_of(found) == GROUPS.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("image,group", "picture,group"), "expected the columns image,group in .*groups.csv, got picture,group"),
        (("class 0/0.png,patient 0\n", ""), "got none of 'class 0/0.png'.*; name images by their paths in"),
        (("class 0/0.png,patient 0", "class 0/0.png,"), "expected an image and its group in line 2 of"),
        (("image,group\n", "image,group\nclass 0/0.png,x\n"), "expected one group of 'class 0/0.png' in .* in line 3"),
    ],
)
def test_a_sheet_that_cannot_be_used_is_said(change: tuple[str, str], message: str, pictures: Path) -> None:
    sheet = pictures / "groups.csv"
    sheet.write_text(sheet.read_text().replace(*change))
    with pytest.raises(ValueError, match=message):
        folder.load(pictures, PREPROCESS)


@pytest.mark.parametrize("groups", [GROUPS[1:], np.arange(N) / 5, GROUPS.reshape(2, -1)], ids=["few", "float", "flat"])
def test_groups_of_another_form_are_refused(groups: np.ndarray, tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS, groups=groups)
    with pytest.raises(ValueError, match=f"a text or a whole number for each of {N} images in groups of .*a.npz, got"):
        arrays.load(path)


def test_groups_of_only_one_of_the_parts_that_are_cut_are_refused(tmp_path: Path) -> None:
    given = {f"{name}_x": IMAGES[part] for name, part in {"train": slice(0, 22), "val": slice(22, 40)}.items()}
    given |= {f"{name}_y": LABELS[part] for name, part in {"train": slice(0, 22), "val": slice(22, 40)}.items()}
    with pytest.raises(ValueError, match="got them for 'train' alone: give those of 'val' too"):
        arrays.load(save(tmp_path / "a.npz", **given, train_groups=GROUPS[:22]))
