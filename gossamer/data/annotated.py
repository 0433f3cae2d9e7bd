# SPDX-License-Identifier: Apache-2.0
"""Pictures in files with the objects that an annotation names in them, as splits with boxes.

    x1, y1, x2, y2 (relative) = left / width, top / height, right / width, bottom / height        sides of the picture

Every format of annotations comes through here: classes are numbered, corners made relative and cut at the borders of
the picture, which is squeezed to the network's size. What was changed on the way is said in the notes of the splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.boxes import CLASS, COLUMNS, DIFFICULT, Boxes, inside
from gossamer.data.folder import KEPT_BYTES, FolderImages, Progress
from gossamer.data.images import Split
from gossamer.data.preprocess import Preprocess
from gossamer.data.splits import Splits, arrange, hold_out_selection
from gossamer.data.tiles import opened
from gossamer.near import meant

PARTS = ("train", "all", "val", "test")  # in this order pictures are kept in memory while there is room
HABIT = 1.0  # pixels that a box may reach out without a word: whether pixels count from 0 or 1 is often mistaken


@dataclass(frozen=True, eq=False)
class Annotated:
    """A picture and its objects: the name of each, its corners in pixels (n, 4), whether it is difficult (n,).

    `source` is the file that says so, `size` the height and width of the picture that it states, where it does.
    """

    picture: Path
    names: tuple[str, ...]
    corners: NDArray[np.float64] = field(repr=False)
    difficult: NDArray[np.bool_] = field(repr=False)
    source: Path
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """Images with boxes in the parts that they come in, "train", "val" and "test", or "all" of them in none.

    `where` they are, `notes` on what was changed when they were read.
    """

    parts: Mapping[str, Split]
    classes: tuple[str, ...]
    where: str
    notes: tuple[str, ...] = ()


def given_of(
    parts: Mapping[str, Sequence[Annotated]],
    classes: tuple[str, ...],
    preprocess: Preprocess,
    where: str,
    notes: tuple[str, ...] = (),
    progress: Progress | None = None,
    limit_bytes: int = KEPT_BYTES,
) -> Given:
    """Images from the pictures of each part, "train", "val", "test" or "all"; objects of other classes are left out.

    `notes` say what was left out before. Only the heads of pictures are read until they are asked for.
    """
    if "all" in parts and len(parts) > 1:
        others = ", ".join(sorted(set(parts) - {"all"}))
        raise ValueError(f"{where} has pictures of no part beside those in {others}; delete them or give them a part")
    number = {name: index for index, name in enumerate(classes)}
    every = [found for part in PARTS for found in parts.get(part, ())]
    rows, changes = _relative(every, number)
    files = tuple(found.picture for found in every)
    # One store for all parts, so that progress counts all of them.
    images = FolderImages(files, preprocess, limit_bytes, progress, squeezed=True)
    whole = Split("all", images, boxes=Boxes.of(rows))
    given, first = {}, 0
    for part in PARTS:
        if part in parts:
            given[part] = whole.subset(np.arange(first, first + len(parts[part])), part)
            first += len(parts[part])
    return Given(given, classes, where, notes + changes)


def chosen_classes(asked: Sequence[str] | None, found: Iterable[str], where: str) -> tuple[str, ...]:
    """The classes asked for, each of which there must be; all that were found where nobody asks."""
    known = tuple(dict.fromkeys(found))
    if not known:
        raise ValueError(f"expected objects in {where}, found none; check that its annotations are complete")
    if asked is None:
        return known
    if not asked or len(set(asked)) < len(asked):
        raise ValueError(f"expected one or more classes, each once, got {list(asked)}")
    for name in asked:
        if name not in known:
            raise ValueError(
                f"expected a class of {where}, got '{name}'{meant(name, known)}; it has {', '.join(known[:20])}"
                f"{', ...' if len(known) > 20 else ''}"
            )
    return tuple(asked)


def arrange_boxes(given: Given) -> Splits:
    """As `splits.arrange`, but a test set that comes alone stays whole: selection is held out of training.

    A certificate is the stronger the more images it counts, and detection has few. Notes say how many images have no
    object of these classes.
    """
    parts, notes = given.parts, tuple[str, ...]()
    if "train" in parts and "test" in parts and "val" not in parts:
        train, selection, note = hold_out_selection(parts["train"])
        parts = {"train": train, "val": selection, "test": parts["test"]}
        notes = (f"{note}; the test set of {given.where} is whole",)
    splits = arrange(parts, given.classes, given.where)
    return replace(splits, notes=splits.notes + notes + _without_objects(splits) + given.notes)


def remark_on_boxes(cut: int, empty: int, first: str) -> Iterator[str]:
    """How many boxes were cut at the border, and how many left out as `empty`, where there are any; `first`: a file."""
    if cut:
        yield f"boxes that reach out of their pictures, cut at the border: {cut:,}"
    if empty:
        yield f"boxes without an area in their pictures, left out: {empty:,}, the first in {first}"


def _without_objects(splits: Splits) -> tuple[str, ...]:
    counted = []
    for split in (splits.train, splits.selection, splits.test):
        none = 0 if split.boxes is None else int((split.boxes.counts == 0).sum())
        if none:
            counted.append(f"{none:,} of {len(split):,} in {split.name}")
    return (f"images without an object of the classes, kept: {', '.join(counted)}",) if counted else ()


def _relative(
    every: Sequence[Annotated], number: Mapping[str, int]
) -> tuple[list[NDArray[np.float32]], tuple[str, ...]]:
    """The rows of each picture, (n, 6), objects of the numbered classes only, and notes on what was changed."""
    rows: list[NDArray[np.float32]] = []
    cut, empty, resized = 0, [], []
    for found in every:
        with opened(found.picture) as picture:
            height, width = picture.height, picture.width
        if found.size is not None and found.size != (height, width):
            resized.append(f"{found.size[1]}x{found.size[0]} beside {width}x{height} in {found.source}")
        ours = np.array([name in number for name in found.names], np.bool_)
        corners = found.corners[ours]
        sides = np.array([width, height, width, height], np.float64)
        beyond = ((corners < -HABIT) | (corners > sides + HABIT)).any(1)
        every_row = np.empty((len(corners), COLUMNS))
        every_row[:, :CLASS] = corners / sides
        every_row[:, CLASS] = [number[name] for name in found.names if name in number]
        every_row[:, DIFFICULT] = found.difficult[ours]
        of_picture, kept = inside(every_row)
        cut += int((beyond & kept).sum())
        empty += [str(found.source)] * int((~kept).sum())
        rows.append(of_picture)
    notes = list(remark_on_boxes(cut, len(empty), empty[0] if empty else ""))
    if resized:
        notes.append(
            f"annotations that state another size than their pictures have: {len(resized):,}, the first {resized[0]}; "
            "the size of the picture counts"
        )
    return rows, tuple(notes)
