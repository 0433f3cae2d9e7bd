# SPDX-License-Identifier: Apache-2.0
"""Images that are no training data: a folder of pictures with or without labels, and the sheet that labels go into.

DIR/<class>/*.jpg      labelled; the folders are classes of the network, by name; groups.csv as for training data
DIR/**/*.jpg           unlabelled
labels.csv             the columns image and label; an empty label is not known yet, '-' is none of the classes;
                       beside them what both networks answer, which is not read back
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gossamer.data import arrays, groups
from gossamer.data.folder import SUFFIXES, FolderImages, Progress, folders_in, pictures_in
from gossamer.data.groups import grouped_files
from gossamer.data.images import Split
from gossamer.data.preprocess import Preprocess
from gossamer.files import write_atomically
from gossamer.near import meant

COLUMNS = ["image", "label"]
ANSWERS = ["original", "compressed"]  # beside them, for whoever labels
NONE_OF_THEM = "-"


def labelled(path: Path, preprocess: Preprocess, classes: Sequence[str], progress: Progress | None = None) -> Split:
    """All images under `path`, a tree of class folders or an .npz file, as one split of the network's classes."""
    if path.suffix == ".npz":
        found = arrays.read(path)
        split = found.get("test") or found.get("all")
        if split is None or split.labels is None:
            raise ValueError(f"expected arrays 'images' and 'labels', or 'test_x' and 'test_y', in {path}")
        arrays.check_labels(split, len(classes), str(path))
        return split.renamed("test")
    files, labels = [], []
    for folder in folders_in(_folder(path)):
        if folder.name not in classes:
            raise ValueError(
                f"expected folders with the names of the network's classes in {path}, got '{folder.name}'"
                f"{meant(folder.name, classes)}"
            )
        pictures = pictures_in(folder)
        files += pictures
        labels += [classes.index(folder.name)] * len(pictures)
    if not files:
        raise ValueError(f"expected pictures in class folders, {path}/<class>/*.jpg, found none")
    split = Split("test", FolderImages(tuple(files), preprocess, progress=progress), np.array(labels, np.int64))
    return grouped_files(split, files, path, groups.read_sheet(path))


def unlabelled(
    path: Path, preprocess: Preprocess, progress: Progress | None = None, *, squeezed: bool = False
) -> tuple[Split, tuple[str, ...]]:
    """All pictures under a folder, as a split without labels, and their names relative to it.

    They are cut to the size of `preprocess`, or squeezed to it whole, as detectors read them.
    """
    files = pictures_in(_folder(path))
    if not files:
        raise ValueError(f"expected pictures in {path}, found none; they end in {', '.join(sorted(SUFFIXES))}")
    names = tuple(file.relative_to(path).as_posix() for file in files)
    return Split("test", FolderImages(tuple(files), preprocess, progress=progress, squeezed=squeezed)), names


def read_sheet(path: Path, classes: Sequence[str]) -> dict[str, int | None]:
    """Class numbers by image from a sheet, only of those that have a label; None where it is none of the classes."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    if not rows or rows[0] not in (COLUMNS, COLUMNS + ANSWERS):
        raise ValueError(f"expected the columns {','.join(COLUMNS)} in {path}, got {','.join(rows[0]) if rows else ''}")
    known: dict[str, int | None] = {}
    for line, row in enumerate(rows[1:], start=2):
        if len(row) not in (len(COLUMNS), len(COLUMNS + ANSWERS)):
            raise ValueError(f"expected an image and a label in line {line} of {path}, got {len(row)} cells")
        image, label = row[0], row[1].strip()
        if label and label != NONE_OF_THEM and label not in classes:
            raise ValueError(
                f"expected a class of the network, or {NONE_OF_THEM} for none of them, in line {line} of {path}, got "
                f"'{label}'{meant(label, classes)}"
            )
        if label:
            known[image] = None if label == NONE_OF_THEM else classes.index(label)
    return known


def write_sheet(
    path: Path, answered: Mapping[str, Sequence[str]], known: Mapping[str, int | None], classes: Sequence[str]
) -> None:
    """A sheet of these images, with what both networks answer; what is known of them, and of others, is kept."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS + ANSWERS)
    for image in dict.fromkeys([*answered, *known]):
        writer.writerow([image, label_word(image, known, classes), *answered.get(image, ("", ""))])
    write_atomically(path, out.getvalue().encode())


def label_word(image: str, known: Mapping[str, int | None], classes: Sequence[str]) -> str:
    """The label of an image as a sheet has it; empty where it is not known."""
    if image not in known:
        return ""
    label = known[image]
    return NONE_OF_THEM if label is None else classes[label]


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError(f"expected a folder of pictures, found none at {path}; check the path")
    return path
