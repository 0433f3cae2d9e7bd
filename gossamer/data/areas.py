# SPDX-License-Identifier: Apache-2.0
"""Honest splits of images that are not independent: all images of an area lie on one side of a cut.

Neighbouring tiles of one aerial picture show the same street, and where they overlap, the same house: cut one by one,
they would let a network be tested on what it was trained on. Areas go where their content falls, as images do in
splits.py: a hash over the hashes of an area's images, in any order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gossamer.data.images import Images, Split
from gossamer.data.splits import SELECTION_SHARE, TRAIN_SHARE, Splits, arrange


def arrange_by_area(
    given: Mapping[str, Split], classes: tuple[str, ...], where: str, called: str = "pictures"
) -> Splits:
    """As `splits.arrange`, but what has to be cut is cut between areas; every split that is cut needs its `areas`.

    `called`: what areas are called in the notes.
    """
    held = [name for name in ("val", "test") if name in given]
    notes: tuple[str, ...] = ()
    if "train" in given and len(held) == 1:
        selection, test = part_by_area(given[held[0]], 0.5, where, called)
        given = {"train": given["train"], "val": selection, "test": test}
        notes = (
            f"{where} has one held-out part, '{held[0]}': halved by content hash for selection and test, "
            f"{_areas(selection)} and {_areas(test)} whole {called}",
        )
    elif "train" not in given and "all" in given:
        train, rest = part_by_area(given["all"], TRAIN_SHARE, where, called, rest=2)
        selection, test = part_by_area(rest, SELECTION_SHARE / (1 - TRAIN_SHARE), where, called)
        given = {"train": train, "val": selection, "test": test}
        notes = (
            f"{where} came unsplit: cut by content hash into {_areas(train)} {called} for training, "
            f"{_areas(selection)} for selection, {_areas(test)} for the test",
        )
    return replace(arrange(given, classes, where), notes=notes)


def part_by_area(
    split: Split, share: float, where: str, called: str = "pictures", rest: int = 1
) -> tuple[Split, Split]:
    """Cut by content hash of whole areas: about `share` of the areas, at least one, and the rest, at least `rest`."""
    areas = areas_of(split)
    hashes = split.images.hashes()
    inside: dict[int, list[str]] = {}
    for area, image in zip(areas.tolist(), hashes, strict=True):
        inside.setdefault(area, []).append(image)
    named = sorted((hashlib.sha256("\n".join(sorted(images)).encode()).hexdigest(), a) for a, images in inside.items())
    if len(named) <= rest:
        raise ValueError(
            f"{where} must be cut between {called}, but '{split.name}' has {len(named)}; give at least {rest + 1} "
            "of them, or folders train, val and test"
        )
    count = min(max(1, round(share * len(named))), len(named) - rest)
    while count < len(named) - rest and named[count][0] == named[count - 1][0]:
        count += 1  # equal areas stay together
    first = np.isin(areas, [area for _, area in named[:count]])
    return split.subset(np.flatnonzero(first), "first"), split.subset(np.flatnonzero(~first), "second")


def areas_of(split: Split) -> NDArray[np.int64]:
    """The area of each image, (N,); raises where nobody has said it."""
    if split.areas is None:
        raise ValueError(f"split '{split.name}' has no areas; say for each image which ones belong together")
    return split.areas


def without_blanks_of(split: Split, *others: Split) -> tuple[Split, int]:
    """The split without its images of one colour that another split has as well, and how many these were.

    Pieces of sea, or of nothing at the border of a survey, are equal to the bit; every other image that two splits
    share is an error in the data, and stays to be found.
    """
    theirs = {image for other in others for image in other.images.hashes()}
    shared = [index for index, image in enumerate(split.images.hashes()) if image in theirs]
    blank = [index for index in shared if _is_blank(split.images, index)]
    if not blank:
        return split, 0
    return split.subset(np.setdiff1d(np.arange(len(split)), blank), split.name), len(blank)


def _is_blank(images: Images, index: int) -> bool:
    image = images.take(np.array([index]))[0]
    return bool((image == image[0, 0]).all())


def _areas(split: Split) -> int:
    return len(np.unique(areas_of(split)))
