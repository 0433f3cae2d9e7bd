# SPDX-License-Identifier: Apache-2.0
"""CIFAR-10: 60,000 colour images of 32x32 pixels in ten classes.

Source: Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University
of Toronto, 2009.

Networks published for CIFAR-10 were trained on all 50,000 training images, so decisions are taken on one
half of the official test set and the certificate is made on the other. For a network trained here, 5,000 training
images are held out for decisions, and the certificate has the whole test set. No image of the test set is, pixel by
pixel, in the training set.
"""

from __future__ import annotations

from pathlib import Path

from gossamer.data.arrays import check_labels, join, read
from gossamer.data.images import Split
from gossamer.data.splits import Splits, halves, hold_out_selection

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def load(folder: Path) -> Splits:
    """CIFAR-10 from `folder`: test.npz and any of train_1.npz ... train_5.npz (10,000 images each)."""
    train, whole = _official(folder)
    selection, test = halves(whole)
    notes = (
        f"selection and test are the two halves of {folder / 'test.npz'}, by content hash: "
        f"{len(selection):,} and {len(test):,} images",
    )
    return Splits(train, selection, test, CLASSES, notes)


def load_held_out(folder: Path) -> Splits:
    """The same data for a network that is trained here: selection is held out of the training set."""
    train, test = _official(folder)
    train, selection, note = hold_out_selection(train)
    return Splits(train, selection, test, CLASSES, (f"{note}; test is the whole test set, {len(test):,} images",))


def _official(folder: Path) -> tuple[Split, Split]:
    """The training set, as much of it as is there, and the test set."""
    shards = [file for i in range(1, 6) if (file := folder / f"train_{i}.npz").exists()]
    if not shards or not (folder / "test.npz").exists():
        raise ValueError(f"expected test.npz and at least one of train_1.npz ... train_5.npz in {folder}")
    train = join([_shard(file) for file in shards], "train")
    test = join([_shard(folder / "test.npz")], "test")
    for split in (train, test):
        check_labels(split, len(CLASSES), str(folder))
    return train, test


def _shard(file: Path) -> Split:
    splits = read(file)
    if "all" not in splits:
        raise ValueError(f"expected one unnamed split in {file}, got {sorted(splits)}; use {file} as --data itself")
    return splits["all"]
