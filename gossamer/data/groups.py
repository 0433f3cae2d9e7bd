# SPDX-License-Identifier: Apache-2.0
"""Groups that images come from, by name: patients, cameras, sessions. They become the areas of a split.

    .npz        an array `groups` beside `labels` (`train_groups`, `groups_test`, ...): texts or whole numbers, (N,)
    a folder    groups.csv in it, with the columns image and group; an image is named by its path in the folder

All images of a group stay on one side of every cut, the drop is told by groups too, and the group that lost most.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.areas import arrange_by_area
from gossamer.data.images import Split
from gossamer.data.splits import Splits, arrange
from gossamer.near import meant

SHEET = "groups.csv"
COLUMNS = ["image", "group"]
SHOWN = 3  # groups that a sentence names


def in_groups(split: Split, names: Sequence[str]) -> Split:
    """The split with the group of each image, (N,), as its areas."""
    known, areas = np.unique(np.array(names, dtype=np.str_), return_inverse=True)
    return replace(split, areas=areas.reshape(-1).astype(np.int64), area_names=tuple(known.tolist()))


def groups_of(split: Split) -> list[str] | None:
    """The name of the area of each image, (N,), or its number where it has no name; None where areas are not known."""
    if split.areas is None:
        return None
    if not split.area_names:
        return [str(area) for area in split.areas.tolist()]
    return [split.area_names[area] for area in split.areas.tolist()]


def arrange_by_group(given: Mapping[str, Split], classes: tuple[str, ...], where: str) -> Splits:
    """As `splits.arrange`, but images of one group stay on one side of every cut, where groups are known."""
    known = [name for name, split in given.items() if split.areas is not None]
    if not known:
        return arrange(given, classes, where)
    cut = [name for name in ("all", "val", "test") if name in given and name not in known]
    if cut:
        raise ValueError(
            f"expected the group of each image, or of none, in {where}, got them for '{known[0]}' alone: give those of "
            f"'{cut[0]}' too"
        )
    arranged = arrange_by_area(given, classes, where, called="groups")
    return replace(arranged, notes=(*arranged.notes, *_shared(arranged)))


def read_sheet(folder: Path) -> dict[str, str] | None:
    """Groups by image from groups.csv in a folder; None where there is none."""
    path = folder / SHEET
    if not path.exists():
        return None
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    if not rows or rows[0] != COLUMNS:
        raise ValueError(f"expected the columns {','.join(COLUMNS)} in {path}, got {','.join(rows[0]) if rows else ''}")
    groups: dict[str, str] = {}
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(COLUMNS) or not row[1].strip():
            raise ValueError(f"expected an image and its group in line {line} of {path}, got '{','.join(row)}'")
        if groups.setdefault(row[0], row[1].strip()) != row[1].strip():
            raise ValueError(f"expected one group of '{row[0]}' in {path}, got another in line {line}")
    return groups


def grouped_files(split: Split, files: Sequence[Path], folder: Path, groups: Mapping[str, str] | None) -> Split:
    """The split of these files in the groups of the folder's sheet, which must name each of them."""
    if groups is None:
        return split
    names = [file.relative_to(folder).as_posix() for file in files]
    if missing := [name for name in names if name not in groups]:
        raise ValueError(
            f"expected the group of each image in {folder / SHEET}, got none of '{missing[0]}'"
            f"{meant(missing[0], groups)}; name images by their paths in {folder}"
        )
    return in_groups(split, [groups[name] for name in names])


def check_groups(groups: NDArray[np.generic], count: int, where: str) -> list[str]:
    """The names of groups in an array, (N,); ValueError unless there is one for each of `count` images."""
    if groups.dtype.kind not in "iuU" or groups.size != count or groups.size != len(groups):
        raise ValueError(
            f"expected a text or a whole number for each of {count} images in {where}, got {groups.dtype} "
            f"{groups.shape}"
        )
    return [str(group) for group in groups.reshape(-1).tolist()]


def _shared(splits: Splits) -> list[str]:
    """A note for each two splits that somebody else has cut through a group."""
    notes = []
    for one, other in combinations((splits.train, splits.selection, splits.test), 2):
        both = sorted(set(groups_of(one) or ()) & set(groups_of(other) or ()))
        if both:
            more = f" and {len(both) - SHOWN} more" if len(both) > SHOWN else ""
            named = ", ".join(f"'{name}'" for name in both[:SHOWN])
            notes.append(
                f"splits '{one.name}' and '{other.name}' share the groups {named}{more}: what '{other.name}' says is "
                "not about groups that were never seen"
            )
    return notes
