# SPDX-License-Identifier: Apache-2.0
"""Honest splits: cut by content, not by position, and checked to share no image.

An example goes where its content hash falls, so the same data gives the same splits whatever the order of the
files, and equal images always land on the same side: nothing that was chosen on is ever tested on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from gossamer.data.images import Split

HELD_OUT = 5000  # images of a training set, for decisions on a network that is trained here
TRAIN_SHARE, SELECTION_SHARE = 0.8, 0.1  # of data that come unsplit; the rest is the test split


@dataclass(frozen=True, eq=False)
class Splits:
    """Data as a task needs them: what may be trained on, what is decided on, what is tested on once.

    `second_test`, where there is one: images of other places, say. Reported, and never decided or proven on.
    """

    train: Split
    selection: Split
    test: Split
    classes: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    second_test: Split | None = None

    def __str__(self) -> str:
        second = () if self.second_test is None else (self.second_test,)
        lines = [*map(str, (self.train, self.selection, self.test, *second)), f"{len(self.classes)} classes"]
        return "\n".join([*lines, *self.notes])


def arrange(given: Mapping[str, Split], classes: tuple[str, ...], where: str) -> Splits:
    """The three splits from whatever was found: some of "train", "val", "test", or only "all".

    With train, val and test, val is for decisions and test for the certificate; with only one of val and test
    it is halved; data that come as "all" are cut 80/10/10. `where` names the data in the notes.
    """
    held = [name for name in ("val", "test") if name in given]
    if "train" in given and held:
        if len(held) == 2:
            selection, test = given["val"], given["test"]
            notes: tuple[str, ...] = ()
        else:
            selection, test = halves(given[held[0]])
            notes = (f"{where} has one held-out part, '{held[0]}': halved by content hash for selection and test",)
        train = given["train"]
    elif "all" in given:
        train, rest = part(given["all"], TRAIN_SHARE)
        selection, test = part(rest, SELECTION_SHARE / (1 - TRAIN_SHARE))
        notes = (f"{where} came unsplit: cut by content hash into 80 % train, 10 % selection, 10 % test",)
    else:
        raise ValueError(
            f"{where} needs images to train on and images held out, got only {sorted(given)}; "
            "give 'train' and 'test' (and 'val'), or everything unsplit"
        )
    return Splits(train.renamed("train"), selection.renamed("selection"), test.renamed("test"), classes, notes)


def held_out(given: Mapping[str, Split], where: str) -> tuple[Split, Split, tuple[str, ...]]:
    """Selection and test from data of which nothing is trained on, and notes; "val" and "test", or one part, halved."""
    if "train" in given:
        raise ValueError(
            f"expected only images that are held out in {where}, 'val' and 'test', got 'train' too; to train on its "
            f"labels, give it as the data itself"
        )
    notes: tuple[str, ...] = ()
    if len(given) == 2:
        selection, test = given["val"], given["test"]
    else:
        (only,) = given.values()
        selection, test = halves(only)
        notes = (f"{where} came as one part: halved by content hash for selection and test",)
    return selection.renamed("selection"), test.renamed("test"), notes


def halves(split: Split) -> tuple[Split, Split]:
    """Two halves by content hash: the first for selection, the second for the test."""
    return part(split, 0.5, ("selection", "test"))


def part(split: Split, share: float, names: tuple[str, str] = ("first", "second")) -> tuple[Split, Split]:
    """Cut by content hash: `share` of the examples, and the rest."""
    return _cut(split, round(share * len(split)), names)


def hold_out(split: Split, count: int) -> tuple[Split, Split]:
    """Set `count` examples aside by content hash: the rest (same name), and those held out."""
    if not 0 <= count <= len(split):
        raise ValueError(f"cannot hold {count} examples out of the {len(split)} of split '{split.name}'")
    held, rest = _cut(split, count, ("held out", split.name))
    return rest, held


def hold_out_selection(train: Split) -> tuple[Split, Split, str]:
    """For a network that is trained here: the rest of the training set, the selection split, and a note on it."""
    rest, selection = hold_out(train, min(HELD_OUT, len(train) // 5))
    note = f"selection is {len(selection):,} images of the training set, chosen by content hash and not trained on"
    return rest.renamed("train"), selection.renamed("selection"), note


def _cut(split: Split, count: int, names: tuple[str, str]) -> tuple[Split, Split]:
    """The `count` examples of the lowest hashes and the others, both in their old order.

    Equal images follow the first of them, so the first part may be longer than asked by their number.
    """
    hashes = split.images.hashes()
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    while 0 < count < len(order) and hashes[order[count]] == hashes[order[count - 1]]:
        count += 1
    first, second = (np.sort(np.array(chosen, dtype=np.int64)) for chosen in (order[:count], order[count:]))
    return split.subset(first, names[0]), split.subset(second, names[1])


def check_disjoint(*splits: Split) -> None:
    """Raise if two splits share an image."""
    for one, other in combinations(splits, 2):
        theirs = set(other.images.hashes())
        shared = [index for index, image in enumerate(one.images.hashes()) if image in theirs]
        if shared:
            raise ValueError(
                f"splits '{one.name}' and '{other.name}' must not overlap, but {len(shared)} images of "
                f"'{one.name}' are also in '{other.name}' (example {shared[0]} is one); delete them from one"
            )
